"""Schemas as the Gemini API takes and gives them, from and to JSON Schema.

Its `parametersJsonSchema` and `responseJsonSchema` read a part of JSON Schema; the part is listed with the field
`responseJsonSchema` in https://ai.google.dev/api/generate-content#generationconfig. The older `parameters` and
`responseSchema` are the API's own `Schema` (https://ai.google.dev/api/caching#Schema): types in capitals, `nullable`
beside the type, and counts as texts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from adaptors.jsonbytes import Json

_KEPT: Final = frozenset(
    {
        *("$id", "$anchor", "$defs", "$ref", "type", "format", "title", "description", "enum", "items", "prefixItems"),
        *("minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties", "additionalProperties"),
        *("required", "propertyOrdering"),
    }
)
_NOTES: Final = frozenset(
    {"$schema", "$comment", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "strict"}
)
"""Keywords that allow and forbid nothing."""
_BY_NAME: Final = frozenset({"properties", "$defs"})
_LISTS: Final = frozenset({"anyOf", "oneOf", "prefixItems"})
_ONE: Final = frozenset({"items", "additionalProperties"})
_MAX_DEPTH: Final = 64
"""Deeper than any schema that a provider takes (OpenAI: 10 levels)."""


def narrowed(schema: Json) -> tuple[Json, tuple[str, ...]]:
    """Return a JSON Schema as the API takes it, and the names of the keywords that say more than it can be told."""
    lost: dict[str, None] = {}
    return _narrowed(schema, lost, 0), tuple(f"schema.{name}" for name in lost)


def _narrowed(schema: Json, lost: dict[str, None], depth: int) -> Json:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return schema
    known = _with_todays_names(schema)
    if "$ref" in known:  # beside a reference only what begins with a dollar may stand
        known = {name: value for name, value in known.items() if name.startswith("$")}
    lost |= {name: None for name in known if name not in _KEPT and name not in _NOTES}
    return _below(
        {name: value for name, value in known.items() if name in _KEPT},
        lambda inner: _narrowed(inner, lost, depth + 1),
    )


def _with_todays_names(schema: dict[str, Json]) -> dict[str, Json]:
    """Return the schema with what has another way of saying said so: a constant, old definitions, a lone `allOf`."""
    said = dict(schema)
    if "const" in said:
        said["enum"] = [said.pop("const")]
    if isinstance(old := said.get("definitions"), dict):
        del said["definitions"]
        said["$defs"] = {**old, **(said.get("$defs") or {})}
    if isinstance(ref := said.get("$ref"), str):
        said["$ref"] = ref.replace("#/definitions/", "#/$defs/")
    parts = said.get("allOf")
    if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], dict):
        del said["allOf"]
        return _with_todays_names({**said, **parts[0]})
    return said


def _below(schema: dict[str, Json], change: Callable[[Json], Json]) -> dict[str, Json]:
    """Return the schema with each schema directly inside it changed."""
    changed = dict(schema)
    for name, value in schema.items():
        if name in _BY_NAME and isinstance(value, dict):
            changed[name] = {key: change(inner) for key, inner in value.items()}
        elif name in _LISTS and isinstance(value, list):
            changed[name] = [change(inner) for inner in value]
        elif name in _ONE:
            changed[name] = change(value)
    return changed


# The API's own form, read.

_COUNTS: Final = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_OWN: Final = frozenset({"nullable", "propertyOrdering", "example"})


def widened(schema: Json) -> Json:
    """Return a schema in the API's own form as JSON Schema. What is JSON Schema already stays as it is."""
    return _widened(schema, 0)


def _widened(schema: Json, depth: int) -> Json:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return schema
    said = {name: value for name, value in schema.items() if name not in _OWN}
    if isinstance(kind := said.get("type"), str):
        said["type"] = _type(kind, nullable=schema.get("nullable") is True)
        if said["type"] is None:
            del said["type"]
    if said.get("format") == "enum":  # how the API marks a text that has an enum; it is no format
        del said["format"]
    said |= {name: int(said[name]) for name in _COUNTS & said.keys() if str(said[name]).isdecimal()}
    return _below(said, lambda inner: _widened(inner, depth + 1))


def _type(kind: str, *, nullable: bool) -> Json:
    word = kind.lower()
    if word == "type_unspecified":
        return None
    return [word, "null"] if nullable else word
