"""Commands speak English in every test that does not choose otherwise: the language is the process's."""

from __future__ import annotations

import pytest

from relay_trio.cli.language import choose


@pytest.fixture(autouse=True)
def english() -> None:
    """Forget what the test before may have chosen."""
    choose("en", {})
