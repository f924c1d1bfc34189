"""DuckDB over a multiplied world's landing files, in a process of its own, so that its memory can be watched."""

from pathlib import Path

from tests.bench.duckdb_windows import compute_windows
from tests.bench.scale.world import parser_of_world, world_from


def main() -> None:
    """Compute the windows of all days."""
    parser = parser_of_world(__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    world = world_from(options)
    days = [day.isoformat() for day in world.days]
    compute_windows(world.use_case(), options.folder / world.name, days, options.folder / "windows.parquet")


if __name__ == "__main__":
    main()
