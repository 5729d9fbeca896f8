"""Turns of a conversation in the Gemini API, and the parts that they are made of, read and written.

https://ai.google.dev/api/caching#Content. Names of fields may be written with humps or with underscores, as everywhere in
Google's JSON; values that are the client's own (arguments, results, schemas) stay as they are. A signature rides on the
part that it came with (https://ai.google.dev/gemini-api/docs/thought-signatures); here it is a thought of its own before it.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Final

import attrs

from adaptors.bodies import BadBody
from adaptors.jsonbytes import Json, encoded
from adaptors.translation.carrier import SEAL, unsealed
from adaptors.translation.conversation import (
    Document,
    Image,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    refused,
)
from adaptors.translation.messages_request import parsed_arguments
from adaptors.translation.reading import objects, optional, want

ORIGIN: Final = "gemini_generate"

# Read.

_HUMP = re.compile(r"(?<=[a-z])_([a-z])")


def humped(document: dict[str, Json]) -> dict[str, Json]:
    """Return an object of the API with its names as the API writes them."""
    return {_HUMP.sub(lambda found: found[1].upper(), name): value for name, value in document.items()}


class CallIds:
    """The ids of calls, made up where there are none: a result then belongs to the first open call of its name."""

    __slots__ = ("_made", "_open")

    def __init__(self) -> None:
        self._made = 0
        self._open: list[tuple[str, str]] = []

    def of_call(self, name: str, given: str | None) -> str:
        """Return the id of a call."""
        self._made += 1
        ident = given or f"call_{self._made}"
        self._open.append((name, ident))
        return ident

    def of_result(self, name: str, given: str | None) -> str | None:
        """Return the id of the call that this is the result of, or None: there was no such call."""
        found = next((open_ for open_ in self._open if given == open_[1] or (not given and name == open_[0])), None)
        if found is None:
            return given
        self._open.remove(found)
        return found[1]


def read_parts(where: str, content: dict[str, Json], ids: CallIds) -> Iterator[Part]:
    """Yield the parts. What was thought stands before the part that its signature came with."""
    thought = ""
    for place, raw in objects(content.get("parts"), f"{where}.parts"):
        part = humped(raw)
        if part.get("thought") is True:
            thought += optional(part, "text", str, f"{place}.") or ""
        signature = optional(part, "thoughtSignature", str, f"{place}.")
        if signature:
            yield from _signed(thought, signature)
            thought = ""
        if part.get("thought") is not True:
            yield from _read_part(place, part, ids)
    if thought:
        yield Thinking(thought)


def _signed(thought: str, signature: str) -> tuple[Thinking, ...]:
    """Return the API's own thought, or those of another provider that stood in the place of a signature."""
    kept = unsealed(signature)
    return (Thinking(thought, signature, origin=ORIGIN),) if kept is None else kept


def _read_part(where: str, part: dict[str, Json], ids: CallIds) -> Iterator[Part]:
    if (text := optional(part, "text", str, f"{where}.")) is not None:
        if text:
            yield Text(text)
    elif (data := optional(part, "inlineData", dict, f"{where}.")) is not None:
        yield _read_data(f"{where}.inlineData", humped(data))
    elif (file := optional(part, "fileData", dict, f"{where}.")) is not None:
        yield _read_file(f"{where}.fileData", humped(file))
    elif (call := optional(part, "functionCall", dict, f"{where}.")) is not None:
        name = want(call.get("name"), str, f"{where}.functionCall.name")
        arguments = optional(call, "args", dict, f"{where}.functionCall.") or {}
        ident = ids.of_call(name, optional(call, "id", str, f"{where}.functionCall."))
        yield ToolCall(ident, name, encoded(arguments).decode())
    elif (result := optional(part, "functionResponse", dict, f"{where}.")) is not None:
        yield from _read_result(f"{where}.functionResponse", result, ids)
    elif part.keys() - {"thoughtSignature"}:
        raise refused(where, f"`{where}` is of a kind that cannot be translated for this model's provider.")


def _read_data(where: str, data: dict[str, Json]) -> Text | Image | Document:
    media_type = want(data.get("mimeType"), str, f"{where}.mimeType")
    content = _padded(want(data.get("data"), str, f"{where}.data").translate(_STANDARD))
    if media_type.startswith("image/"):
        return Image(media_type, content)
    return Text(_words_in(where, content)) if media_type.startswith("text/") else Document(media_type, content)


_STANDARD: Final = str.maketrans("-_", "+/")
"""Google's JSON takes both alphabets of base64, padded or not; others take the standard one, padded."""


def _padded(content: str) -> str:
    return content + "=" * (-len(content) % 4)


def _words_in(where: str, content: str) -> str:
    try:
        return b64decode(content).decode("utf-8", "replace")
    except ValueError as error:
        raise BadBody(f"`{where}.data` is not base64.", param=f"{where}.data", code="invalid_value") from error


def _read_file(where: str, file: dict[str, Json]) -> Image | Document:
    uri = want(file.get("fileUri"), str, f"{where}.fileUri")
    media_type = optional(file, "mimeType", str, f"{where}.") or ""
    if not uri.startswith(("https://", "http://")) or "generativelanguage.googleapis.com/" in uri:
        raise refused(
            f"{where}.fileUri", f"`{where}.fileUri` is stored and cannot be had by another provider; send its data."
        )
    if media_type.startswith("image/") or (not media_type and _media_type_of(uri).startswith("image/")):
        return Image(url=uri)
    return Document(media_type, url=uri)


def _read_result(where: str, result: dict[str, Json], ids: CallIds) -> Iterator[ToolResult]:
    name = want(result.get("name"), str, f"{where}.name")
    ident = ids.of_result(name, optional(result, "id", str, f"{where}."))
    if ident is None:
        raise BadBody(f"`{where}` is the result of no call before it.", param=where, code="invalid_value")
    said = optional(result, "response", dict, f"{where}.") or {}
    shown = (
        _read_data(f"{place}.inlineData", humped(want(humped(part).get("inlineData"), dict, f"{place}.inlineData")))
        for place, part in objects(result.get("parts"), f"{where}.parts")
    )
    yield ToolResult(ident, (Text(_told(said)), *shown), is_error="error" in said)


def _told(response: dict[str, Json]) -> str:
    """Return what a tool gave as text: the one member that the API knows, or all of them."""
    said = next(iter(response.values())) if response.keys() in ({"output"}, {"error"}, {"result"}) else response
    return said if isinstance(said, str) else encoded(said).decode()


# Written.


SKIP_SIGNATURE: Final = "skip_thought_signature_validator"
"""Stands at a call that the model did not make itself (https://ai.google.dev/gemini-api/docs/thought-signatures, FAQ):
models from Gemini 3 on answer 400 to a first call without any signature."""


@attrs.frozen
class GenerateOptions:
    """What a provider of this API wants said its own way. `takes_ids`: its calls and results have ids."""

    takes_ids: bool = True
    labels_field: str = ""
    """Where it reads who the user is; the Gemini API has no such place."""


def written_user(parts: tuple[Part, ...], names: dict[str, str], options: GenerateOptions) -> Iterator[Json]:
    """Yield the parts; what a result shows beside its words is shown by the user, since older models take it nowhere else."""
    for part in parts:
        if isinstance(part, ToolResult):
            if part.id not in names:
                raise BadBody("A tool's result follows no call of that id.", param="messages", code="invalid_value")
            yield _written_result(part, names[part.id], options)
            yield from (written_part(shown) for shown in part.parts if not isinstance(shown, Text))
        elif not isinstance(part, ToolCall | Thinking) and not _is_empty(part):
            yield written_part(part)


def _is_empty(part: Part) -> bool:
    return isinstance(part, Text | Refusal) and not part.text


def _written_result(result: ToolResult, name: str, options: GenerateOptions) -> Json:
    text = "\n".join(part.text for part in result.parts if isinstance(part, Text))
    said: dict[str, Json] = {"name": name, "response": {"error" if result.is_error else "output": text}}
    return {"functionResponse": {"id": result.id, **said} if options.takes_ids else said}


def written_part(part: Text | Refusal | Image | Document) -> Json:
    """Return what a user shows. The API fetches what stands at an address (since 2026, not for older models)."""
    if isinstance(part, Text | Refusal):
        return {"text": part.text}
    if part.url:
        media_type = (part.media_type if isinstance(part, Document) else "") or _media_type_of(part.url)
        return {"fileData": {"fileUri": part.url} | ({"mimeType": media_type} if media_type else {})}
    return {"inlineData": {"mimeType": part.media_type, "data": part.data}}


_MEDIA_TYPES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "gif": "image/gif",
    "pdf": "application/pdf",
}
_SUFFIX = re.compile(r"\.([a-z]{3,4})(?:[?#]|$)", re.IGNORECASE)


def _media_type_of(url: str) -> str:
    """Return what an address says of the type, or nothing: the API then goes by what it fetches."""
    found = _SUFFIX.search(url)
    return _MEDIA_TYPES.get(found[1].lower(), "") if found else ""


def written_turn(parts: tuple[Part, ...], options: GenerateOptions) -> list[Json]:
    """Return the model's turn. A signature goes back with the call that it came with; else with the words."""
    written: list[dict[str, Json]] = []
    signatures: list[str] = []
    for part in parts:
        if isinstance(part, Thinking):
            if part.origin == ORIGIN and part.signature:
                signatures.append(part.signature)
        elif isinstance(part, ToolCall):
            written.append(_written_call(part, options) | _signature(signatures))
        elif not isinstance(part, ToolResult) and not _is_empty(part):
            written.append(written_part(part))
    if signatures:
        _sign_words(written, signatures[-1])
    return written


def _signature(signatures: list[str]) -> dict[str, Json]:
    """Return the newest signature as a member of a part, and hold it back from any other."""
    if not signatures:
        return {}
    newest = signatures[-1]
    signatures.clear()
    return {"thoughtSignature": newest}


def _sign_words(parts: list[dict[str, Json]], signature: str) -> None:
    if not parts or "text" not in parts[-1]:
        parts.append({"text": ""})  # an empty text may carry one: a stream's last event does
    parts[-1]["thoughtSignature"] = signature


def _written_call(call: ToolCall, options: GenerateOptions) -> dict[str, Json]:
    said = {"name": call.name, "args": parsed_arguments(call.arguments)}
    return {"functionCall": {"id": call.id, **said} if options.takes_ids else said}


_SEALED = re.compile(rb'"' + SEAL + rb'[A-Za-z0-9+/=_-]*"')


def without_sealed(body: bytes) -> bytes:
    """Return a request body in which what another provider signed is said to be so."""
    return _SEALED.sub(b'"' + SKIP_SIGNATURE.encode() + b'"', body) if SEAL in body else body


def mark_unsigned(turns: list[Json]) -> None:
    """Give the first call of each turn a signature, where it has none."""
    for turn in turns:
        call = next((part for part in turn["parts"] if "functionCall" in part), None)
        if call is not None and "thoughtSignature" not in call:
            call["thoughtSignature"] = SKIP_SIGNATURE
