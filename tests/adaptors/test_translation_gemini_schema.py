"""A schema keeps its meaning on its way to the Gemini API, and what its clients write becomes JSON Schema."""

from __future__ import annotations

from typing import Any

import pytest

from adaptors.translation.gemini_schema import narrowed, widened

# The keywords that are read: https://ai.google.dev/api/generate-content#generationconfig, `responseJsonSchema`.
NARROWED: list[tuple[Any, Any, tuple[str, ...]]] = [
    (None, None, ()),
    ({"type": "string", "pattern": "a+", "maxLength": 3}, {"type": "string"}, ("schema.pattern", "schema.maxLength")),
    ({"$schema": "s", "$comment": "c", "default": 1, "examples": [1]}, {}, ()),
    ({"const": "x"}, {"enum": ["x"]}, ()),
    ({"allOf": [{"type": "string"}], "description": "d"}, {"description": "d", "type": "string"}, ()),
    ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, {}, ("schema.allOf",)),
    (
        {"definitions": {"a": {"const": 1}}, "properties": {"b": {"$ref": "#/definitions/a", "description": "d"}}},
        {"properties": {"b": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"enum": [1]}}},
        (),
    ),
    # what is named like a keyword is none
    ({"properties": {"pattern": {"type": "string"}}}, {"properties": {"pattern": {"type": "string"}}}, ()),
    (
        {"anyOf": [{"not": {}}, True], "items": {"uniqueItems": True}, "additionalProperties": False},
        {"anyOf": [{}, True], "items": {}, "additionalProperties": False},
        ("schema.not", "schema.uniqueItems"),
    ),
]


@pytest.mark.parametrize(("schema", "told", "lost"), NARROWED)
def test_a_schema_is_told_as_far_as_it_can_be(schema: Any, told: Any, lost: tuple[str, ...]) -> None:
    """What allows or forbids more is named; what is a note alone is not."""
    assert narrowed(schema) == (told, lost)


# The API's own form: https://ai.google.dev/api/caching#Schema
WIDENED: list[tuple[Any, Any]] = [
    (None, None),
    ({"type": "STRING", "nullable": True}, {"type": ["string", "null"]}),
    ({"type": "STRING", "format": "enum", "enum": ["a"]}, {"type": "string", "enum": ["a"]}),
    ({"type": "STRING", "format": "date-time"}, {"type": "string", "format": "date-time"}),
    ({"type": "ARRAY", "minItems": "2", "items": {"type": "INTEGER"}}, {"type": "array", "minItems": 2, "items": {"type": "integer"}}),
    ({"type": "TYPE_UNSPECIFIED", "anyOf": [{"type": "NUMBER"}]}, {"anyOf": [{"type": "number"}]}),
    ({"properties": {"nullable": {"type": "BOOLEAN"}}, "propertyOrdering": ["a"]}, {"properties": {"nullable": {"type": "boolean"}}}),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "written"), WIDENED)
def test_the_apis_own_form_becomes_json_schema(schema: Any, written: Any) -> None:
    """With types as others write them."""
    assert widened(schema) == written


def test_a_schema_without_end_is_left_alone() -> None:
    """Beyond any depth that a provider takes."""
    deep: Any = {}
    for _ in range(500):
        deep = {"items": deep}
    assert narrowed(deep)[0] == deep
    assert widened(deep) == deep
