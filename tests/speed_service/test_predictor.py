"""No leak from tiles to an answer: the tile of the prediction minute counts for nothing, the one before it does."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from include.tiles.kernel import TileIndex
from include.use_case import UseCase
from speed_service.app import service_of
from speed_service.history import History, Published
from tests.speed_service.conftest import (
    FIRST_DAY,
    LAST_DAY,
    World,
    days_between,
    some_tiles,
    subject,
    tile_row,
    tile_table,
)

#: The subject's default prediction time is 14:15.
BORDER = datetime(2013, 1, 20, 14, 15, tzinfo=UTC)


def probability_with(world: World, use_case: UseCase, minute: datetime) -> float:
    """The answer when twenty very late departures stand in one minute."""
    planted = tile_table([tile_row("departures_by_carrier", "UA", minute, [20, 9000, 20])])
    rows = pa.concat_tables([some_tiles(), planted])
    published = Published(9, days_between(FIRST_DAY, LAST_DAY), TileIndex.from_arrow(use_case.tiles, rows))
    service_of(world.app).swap_history(History(use_case, published, TileIndex.empty(use_case.tiles)))
    return float(world.predict(subject()).json["predictions"][0]["probability"])


def test_only_tiles_before_the_prediction_minute_count(world: World, use_case: UseCase) -> None:
    plain = world.predict(subject()).json["predictions"][0]["probability"]
    assert probability_with(world, use_case, BORDER) == plain
    assert probability_with(world, use_case, BORDER + timedelta(minutes=1)) == plain
    assert probability_with(world, use_case, BORDER - timedelta(minutes=1)) != plain
