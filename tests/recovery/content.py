"""Two worlds are the same when their tables hold the same rows, but for what names the run that wrote them."""

import json

from include import lake

#: Names and moments of runs, and the contract's version, differ between worlds that hold the same facts.
ABOUT_RUNS = ("run_id", "closed_at", "ingested_at", "contract_version")
DERIVED = ("tiles", "features", "labels")


def content(name: str, table: str) -> list[str]:
    """A table's rows as sorted texts; landing keys without the world's name."""
    rows = lake.read_rows(name, table)
    kept = [{column: value for column, value in row.items() if column not in ABOUT_RUNS} for row in rows]
    return sorted(json.dumps(row, sort_keys=True, default=str).replace(f"{name}/", "") for row in kept)
