"""Reading a client's JSON: each value is of the type that is wanted, or the refusal says which field is not."""

from __future__ import annotations

import re
from typing import TypeVar

from adaptors.bodies import BadBody
from adaptors.jsonbytes import Json, NotJSON, decoded

T = TypeVar("T")

_NAMES = {
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    list: "a list",
    dict: "an object",
}


def document_of(body: bytes | None) -> dict[str, Json]:
    """Return the object that a request body is. Raises BadBody."""
    try:
        document = decoded(body or b"")
    except NotJSON as error:
        raise BadBody(f"The request body is not JSON: {error}.", code="invalid_json") from error
    return want(document, dict, "body")


def want(value: Json, kind: type[T], where: str) -> T:
    """Return the value, which must be there and of this type. Raises BadBody."""
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    if kind is float and type(value) is int:
        return kind(value)  # type: ignore[call-arg] # an integer is a number
    raise BadBody(f"`{where}` must be {_NAMES[kind]}.", param=where, code="invalid_type")


def optional(document: dict[str, Json], key: str, kind: type[T], where: str = "") -> T | None:
    """Return a member, or None where it is missing or null. Raises BadBody."""
    value = document.get(key)
    return None if value is None else want(value, kind, where + key)


def objects(value: Json, where: str) -> list[tuple[str, dict[str, Json]]]:
    """Return the objects of a list, each with where it stands; none where it is null. Raises BadBody."""
    items = [] if value is None else want(value, list, where)
    return [(f"{where}[{at}]", want(item, dict, f"{where}[{at}]")) for at, item in enumerate(items)]


def words(value: Json, where: str) -> tuple[str, ...]:
    """Return a list of texts; one text is a list of one. Raises BadBody."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    return tuple(want(item, str, f"{where}[{at}]") for at, item in enumerate(want(value, list, where)))


_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w-]+=[^;,]*)*;base64,", re.IGNORECASE)


def data_url_of(url: str) -> tuple[str, str] | None:
    """Return the media type, which may be missing, and the base64 of a `data:` URL, or None: it is another address."""
    found = _DATA_URL.match(url)
    return None if found is None else (found[1] or "", url[found.end() :])
