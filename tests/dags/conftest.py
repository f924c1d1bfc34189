"""The DAG files, parsed once as Airflow's DAG processor does; no server and no metadata database."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def dags() -> Iterator[dict[str, Any]]:
    """Every DAG by its id; fails with the traceback of a file that cannot be imported."""
    for folder in (ROOT, ROOT / "plugins"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(ROOT / "dags"), safe_mode=False)
    assert not bag.import_errors, bag.import_errors
    yield dict(bag.dags)
