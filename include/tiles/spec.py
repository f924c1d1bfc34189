"""The declaration of tiles and of the windows over them.

A *tile* is one UTC minute of one source for one key, as integers. A fact's minute is that of the later of its
event time and its availability time. A *window* combines the tiles in ``[floor(t) - span, floor(t))`` where ``t``
is the prediction time, floored to the minute: both ends lie on tile borders, and nothing at or after ``t`` counts.
This module is pure data: it knows neither Spark (``build``) nor NumPy (``kernel``) nor any domain.
"""

from dataclasses import dataclass
from typing import Literal

MeasureKind = Literal["count", "sum", "max", "last"]
MINUTES_PER_DAY = 1440


@dataclass(frozen=True)
class Measure:
    """One integer of a tile.

    ``sum`` and ``max`` skip facts whose field is null; ``last`` takes the value (null included) of the fact that is
    latest by (tile minute's moment, event time, fact id). ``scale`` turns a double field into an integer:
    ``round(value * scale)``, half away from zero. ``clip`` bounds the scaled value (inclusive). With ``above`` the
    value becomes 1 when the scaled value exceeds it and 0 when not, so that a ``sum`` counts such facts.
    """

    name: str
    kind: MeasureKind
    field: str | None = None
    scale: int = 1
    clip: tuple[int, int] | None = None
    above: int | None = None


@dataclass(frozen=True)
class Tile:
    """One kind of tile: the facts of ``source``, grouped by ``key`` fields and minute.

    A fact with a null in any key field has no tile. The key's text joins the fields with ``|``.
    """

    name: str
    source: str
    key: tuple[str, ...]
    measures: tuple[Measure, ...]

    @property
    def measure_names(self) -> tuple[str, ...]:
        """The measures' names, in the order of the tile's ``values``."""
        return tuple(measure.name for measure in self.measures)


@dataclass(frozen=True)
class Window:
    """One span of one tile, looked up for a subject by the subject's ``key`` fields.

    ``span_minutes`` is also the maximum age of ``last``. Its columns are named ``{name}_{measure}``; a window over a
    tile that has a ``last`` measure also has ``{name}_age``, the minutes from that tile's minute to floor(t).
    Without any tile in the span, ``count`` and ``sum`` are 0 and ``max``, ``last`` and ``age`` are null.
    """

    name: str
    tile: Tile
    key: tuple[str, ...]
    span_minutes: int

    @property
    def has_last(self) -> bool:
        """Whether the tile has a ``last`` measure, and so the window an ``_age`` column."""
        return any(measure.kind == "last" for measure in self.tile.measures)

    @property
    def columns(self) -> tuple[str, ...]:
        """The window's column names in order; every one is a nullable 64-bit integer."""
        measures = tuple(f"{self.name}_{measure}" for measure in self.tile.measure_names)
        return (*measures, f"{self.name}_age") if self.has_last else measures


def days_of_history(windows: tuple[Window, ...]) -> int:
    """How many whole earlier days the windows of one day can reach into."""
    longest = max((window.span_minutes for window in windows), default=0)
    return -(-longest // MINUTES_PER_DAY)
