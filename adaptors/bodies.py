"""What the relay must know of a request body, and the one thing that it changes in it: the name of the model.

The body is looked at, not taken apart: a request of any size is stepped over once, and only the few members that matter
are decoded.
"""

from __future__ import annotations

import re
from typing import Any, Final

import attrs
import msgspec

from adaptors.endpoints import body_kind
from adaptors.jsonbytes import UNREADABLE, Json, NotJSON, decoded, encoded, with_member
from adaptors.multipart import BadForm, field, with_field
from adaptors.values import BodyKind, Endpoint

_MAX_MODEL_CHARS: Final = 256
"""Longer than any model's name; the name goes into logs and looked-up tables."""
_MAX_REFERENCES: Final = 16
"""How many ids are looked up to find the channel that made them; all of one request's were made by one."""


class BadBody(ValueError):
    """The client's body will not do: the message, a whole sentence, says why; `param` names the field."""

    def __init__(self, message: str, *, param: str | None = None, code: str = "invalid_body") -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


@attrs.frozen
class Peeked:
    """What a request asks for, as far as the relay must know it.

    `references` are the ids of stored objects that the request builds on (`resp_...`, `file-...`): it must go to where
    they were made.
    """

    model: str | None = None
    stream: bool = False
    include_usage: bool = False
    references: tuple[str, ...] = ()


class _Members(msgspec.Struct):
    model: Any = None
    stream: Any = None
    stream_options: Any = None
    previous_response_id: Any = None
    conversation: Any = None
    input_file_id: Any = None
    training_file: Any = None
    validation_file: Any = None


_MAY_NEST = re.compile(rb'"(?:file_id|vector_store_ids"|container")')
_NESTED = re.compile(
    rb'"(?:file_id|file_ids|vector_store_ids|container)"\s*:\s*(?:"([^"\\]{1,256})"|\[([^\[\]{}\\]{1,8192})\])'
)

_decode = msgspec.json.Decoder(_Members).decode

_JSON, _FORM = BodyKind.JSON, BodyKind.MULTIPART_MODEL


def peek(endpoint: Endpoint, content_type: bytes, body: bytes, query: bytes = b"") -> Peeked:
    """Return what this request asks for. Raises BadBody."""
    kind = body_kind(endpoint, content_type)
    if kind is _JSON and (body or endpoint.model_required):
        return _peek_json(endpoint, body)
    if kind is _FORM:
        return _peek_form(endpoint, content_type, body)
    return Peeked(stream=re.search(rb"(?:^|&)stream=true(?:&|$)", query) is not None)


def rename_model(body: bytes, content_type: bytes, model: str) -> bytes:
    """Return the body with the value of its `model` changed, and no other byte. Raises BadBody."""
    try:
        if content_type[:19].lower() == b"multipart/form-data":
            return with_field(body, content_type, b"model", model.encode())
        return with_member(body, "model", encoded(model))
    except (NotJSON, BadForm) as error:
        raise BadBody(f"The model of this request body cannot be told for certain: {error}.") from error


# JSON.


def _peek_json(endpoint: Endpoint, body: bytes) -> Peeked:
    members = _members(body)
    return Peeked(
        model=_model(members.model, endpoint),
        stream=_flag(members.stream, "stream"),
        include_usage=isinstance(members.stream_options, dict) and members.stream_options.get("include_usage") is True,
        references=_references(members, body),
    )


def _members(body: bytes) -> _Members:
    try:
        return _decode(body)
    except UNREADABLE:
        return _members_leniently(body)


def _members_leniently(body: bytes) -> _Members:
    """Read what msgspec refuses and providers may take (NaN, lone surrogates), or say what is wrong."""
    if not body.strip():
        raise BadBody("The request body is empty; a JSON object is wanted.")
    try:
        document = decoded(body)
    except NotJSON as error:
        raise BadBody(f"The request body is not JSON: {error}.", code="invalid_json") from error
    if not isinstance(document, dict):
        raise BadBody('The request body is JSON but no object; want e.g. {"model": "..."}.', code="invalid_json")
    return _Members(**{name: document[name] for name in _Members.__struct_fields__ if name in document})


def _model(model: Json, endpoint: Endpoint) -> str | None:
    if model is None or model == "":
        if endpoint.model_required:
            raise BadBody("The request names no model: `model` is required.", param="model", code="missing_model")
        return None
    if not isinstance(model, str):
        raise BadBody("`model` must be a string.", param="model", code="invalid_type")
    if len(model) > _MAX_MODEL_CHARS:
        raise BadBody(f"`model` is longer than {_MAX_MODEL_CHARS} characters.", param="model", code="invalid_value")
    return model


def _flag(value: Json, name: str) -> bool:
    if value is None or isinstance(value, bool):
        return value is True
    raise BadBody(f"`{name}` must be true or false.", param=name, code="invalid_type")


def _references(members: _Members, body: bytes) -> tuple[str, ...]:
    nested = _nested_ids(body) if _MAY_NEST.search(body) else ()
    named = (
        members.previous_response_id,
        members.conversation,
        members.input_file_id,
        members.training_file,
        members.validation_file,
    )
    if not nested and not any(named):
        return ()
    return tuple(dict.fromkeys(filter(None, (*map(_id, named), *nested))))[:_MAX_REFERENCES]


def _id(value: Json) -> str | None:
    """Return the id: a conversation is named by its id or by an object that holds it."""
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) else None


def _nested_ids(body: bytes) -> list[str]:
    """Return the ids that stand deeper: in parts of messages and in tools. A text cannot hold them: its quotes are escaped."""
    ids: list[str] = []
    for found in _NESTED.finditer(body):
        ids += (
            [found[1].decode("utf-8", "replace")]
            if found[1]
            else re.findall(r'"([^"]+)"', found[2].decode("utf-8", "replace"))
        )
        if len(ids) >= _MAX_REFERENCES:
            break
    return ids


# Forms.


def _peek_form(endpoint: Endpoint, content_type: bytes, body: bytes) -> Peeked:
    try:
        model, stream = field(body, content_type, b"model"), field(body, content_type, b"stream")
    except BadForm as error:
        raise BadBody(f"The request body is no form that can be read: {error}.", code="invalid_form") from error
    return Peeked(model=_model(_text(model), endpoint), stream=stream is not None and stream.strip().lower() == b"true")


def _text(model: bytes | None) -> str | None:
    try:
        return None if model is None else model.decode()
    except UnicodeDecodeError as error:
        raise BadBody("`model` is not UTF-8.", param="model", code="invalid_value") from error
