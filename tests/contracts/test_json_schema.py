"""The published schemas are the ones that the contracts give."""

from pathlib import Path

import pytest

from include.contracts.json_schema import schema_files
from include.use_case import load_use_case

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
FILES = schema_files(load_use_case("flight_delay"))


@pytest.mark.parametrize("name", sorted(FILES))
def test_published_schema_is_current(name: str) -> None:
    path = SCHEMAS / name
    assert path.exists() and path.read_text() == FILES[name], (
        "run: python -m include.contracts.json_schema flight_delay docs/schemas"
    )
