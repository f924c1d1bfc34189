"""DuckDB over a multiplied world's landing files, in a process of its own, so that its memory can be watched."""

import argparse
from pathlib import Path

from tests.bench.duckdb_windows import compute_windows
from tests.bench.scale.world import World


def main() -> None:
    """Compute the windows of all days."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--copies", type=int, required=True)
    parser.add_argument("--days", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    world = World(options.name, options.copies, options.days)
    days = [day.isoformat() for day in world.days]
    compute_windows(world.use_case(), options.folder / world.name, days, options.folder / "windows.parquet")


if __name__ == "__main__":
    main()
