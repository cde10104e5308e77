"""The documents' tables are what the code does."""

from __future__ import annotations

import pytest

from tests.house.tables import TABLES, placed


@pytest.mark.parametrize("name", TABLES)
def test_the_table_is_what_the_code_says(name: str) -> None:
    """If this fails: python -m tests.house.tables"""
    _, text, current = placed(name, TABLES[name]())
    assert text == current
