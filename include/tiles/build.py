"""Facts to tiles: one Spark expression per source, the same over a day in batch and over a topic in streaming.

All kinds of tile of a source come from one scan and one shuffle. It knows no domain; the windows are ``kernel``'s.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from include.contracts.columns import time_column
from include.contracts.contract import Contract
from include.tiles.spec import Measure, Tile

TILE_COLUMNS = ("tile", "key", "minute", "values", "ds")


@dataclass(frozen=True)
class TileExpressions:
    """The columns that make tiles of one source's facts, built once: a stream uses them again in every micro-batch."""

    keyed: tuple[Column, ...]
    flat: tuple[Column, ...]
    combined: tuple[Column, ...]
    rows: tuple[Column, ...]


def tile_expressions(contract: Contract, tiles: Sequence[Tile]) -> TileExpressions:
    """The expressions for some kinds of tile over one source."""
    measures = distinct_measures(tiles)
    names = [F.col(name) for name in measures.values()]
    kinds = F.array(*(F.struct(F.lit(tile.name).alias("tile"), key_text(tile.key).alias("key")) for tile in tiles))
    order = F.struct("moment", time_column(contract.event_time).alias("event"), F.col(contract.key).alias("id"))
    return TileExpressions(
        keyed=(
            F.explode(kinds),
            tile_day().alias("ds"),
            F.date_trunc("MINUTE", F.col("moment")).alias("minute"),
            order.alias("order"),
            *(measured(measure).alias(name) for measure, name in measures.items()),
        ),
        flat=(F.col("ds"), F.col("col.tile"), F.col("col.key"), F.col("minute"), F.col("order"), *names),
        combined=tuple(aggregate(measure, name).alias(name) for measure, name in measures.items()),
        rows=(
            F.col("tile"),
            F.col("key"),
            F.col("minute"),
            values_of(tiles, measures).alias("values"),
            F.col("ds"),
        ),
    )


def tile_day() -> Column:
    """The day (UTC) of the tiles that a fact with ``moment`` belongs to."""
    return F.date_format("moment", "yyyy-MM-dd")


def tile_rows(facts: DataFrame, expressions: TileExpressions) -> DataFrame:
    """The tiles (``tile, key, minute, values, ds``) of one source's typed facts, which carry ``moment``.

    A fact with a null in a tile's key has no tile of that kind. ``minute`` is a timestamp, ``values`` bigints.
    """
    flat = facts.select(*expressions.keyed).select(*expressions.flat).where("key IS NOT NULL")
    # The minute says the day, which lets facts that lie together by day be combined where they are; and it tells rows
    # apart by one comparison of integers, where the kinds and many keys begin with the same letters.
    return flat.groupBy("minute", "tile", "key", "ds").agg(*expressions.combined).select(*expressions.rows)


def build_tiles(facts: Mapping[str, DataFrame], contracts: Iterable[Contract], tiles: Sequence[Tile]) -> DataFrame:
    """The tiles of every source in ``facts`` (typed facts by source name, with ``moment``)."""
    by_source = {contract.name: contract for contract in contracts}
    frames = []
    for source, frame in facts.items():
        kinds = tiles_of(tiles, source)
        if kinds:
            frames.append(tile_rows(frame, tile_expressions(by_source[source], kinds)))
    return reduce(DataFrame.unionByName, frames)


def tiles_of(tiles: Iterable[Tile], source: str) -> list[Tile]:
    """The kinds of tile over one source."""
    return [tile for tile in tiles if tile.source == source]


def distinct_measures(tiles: Iterable[Tile]) -> dict[Measure, str]:
    """Every measure of the tiles once, with a column name; tiles may call different measures by one name."""
    found = dict.fromkeys(measure for tile in tiles for measure in tile.measures)
    return {measure: f"m{number}" for number, measure in enumerate(found)}


def key_text(fields: Sequence[str]) -> Column:
    """The fields joined with ``|``; null if any is null."""
    texts = [F.col(name).cast("string") for name in fields]
    return reduce(lambda left, right: F.concat(left, F.lit("|"), right), texts)


def measured(measure: Measure) -> Column:
    """What one fact contributes to ``measure``, as a bigint."""
    if measure.field is None:
        return F.lit(1).cast("bigint")
    value = F.col(measure.field)
    value = F.round(value * measure.scale).cast("bigint") if measure.scale != 1 else value.cast("bigint")
    if measure.above is not None:
        return (value > measure.above).cast("bigint")
    if measure.clip is None:
        return value
    low, high = measure.clip
    return F.when(value < low, low).when(value > high, high).otherwise(value).cast("bigint")


def aggregate(measure: Measure, name: str) -> Column:
    """Combine the contributions in column ``name`` of one tile."""
    column = F.col(name)
    if measure.kind == "last":
        return F.max_by(column, F.col("order"))
    if measure.kind == "max":
        return F.max(column)
    return F.coalesce(F.sum(column), F.lit(0)).cast("bigint")


def values_of(tiles: Iterable[Tile], measures: Mapping[Measure, str]) -> Column:
    """The values of a tile in the order of its kind's declaration."""
    chosen: Column = F.lit(None)
    for tile in tiles:
        array = F.array(*(F.col(measures[measure]) for measure in tile.measures))
        chosen = F.when(F.col("tile") == tile.name, array).otherwise(chosen)
    return chosen
