"""The published schemas are the ones that the contracts give."""

from pathlib import Path

import pytest

from include.contracts.json_schema import schema_files
from include.use_case import load_use_case

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"


@pytest.mark.parametrize("use_case", ["flight_delay", "bike_share"])
def test_published_schemas_are_current(use_case: str) -> None:
    for name, text in schema_files(load_use_case(use_case)).items():
        path = SCHEMAS / name
        assert path.exists() and path.read_text() == text, (
            f"run: python -m include.contracts.json_schema {use_case} docs/schemas"
        )
