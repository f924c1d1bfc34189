"""What the hyper-parameter search of a use case varies, as plain data; Ray Tune's objects are made of it elsewhere.

The predictor and Spark load a use case too, without Ray and Torch: so this module knows neither. A parameter's name is
that of a field of the network's or the loop's configuration (``include.training``).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

Number = int | float

#: The fields that a search may set; tests hold them against the configurations themselves.
ARCHITECTURE = ("width", "layers", "dropout", "embedding_width", "category_width")
TRAINING = (
    *("epochs", "batch_size", "learning_rate", "weight_decay", "patience", "averaging"),
    *("numeric_dropout", "category_dropout", "seed"),
)
#: These belong to a run, not to a search.
GIVEN = frozenset({"epochs", "seed"})


@dataclass(frozen=True)
class Uniform:
    """Every number from ``low`` to ``high`` is as likely; with ``log``, every order of magnitude."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (self.low < self.high and math.isfinite(self.high)) or (self.log and self.low <= 0):
            raise ValueError(f"{self} is no range")

    def has(self, value: Number) -> bool:
        """Whether a search could find the value."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Number, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a choice needs at least one value")

    def has(self, value: Number) -> bool:
        """Whether a search could find the value."""
        return value in self.values


Space = Mapping[str, Uniform | Choice]


def _fresh() -> Space:
    return {
        "width": Choice((96, 128, 192)),
        "layers": Choice((1, 2, 3)),
        "embedding_width": Choice((4, 6)),
        "dropout": Uniform(0.2, 0.4),
        "learning_rate": Uniform(4e-3, 8e-3, log=True),
        "weight_decay": Uniform(0.6, 1.6, log=True),
        "numeric_dropout": Uniform(0.05, 0.15),
        "batch_size": Choice((512,)),
    }


def _first() -> Mapping[str, Number]:
    return {
        "width": 128,
        "layers": 2,
        "dropout": 0.3,
        "embedding_width": 4,
        "learning_rate": 6e-3,
        "weight_decay": 1.0,
        "numeric_dropout": 0.1,
        "batch_size": 512,
    }


def _continued() -> Space:
    names = ("dropout", "learning_rate", "weight_decay", "numeric_dropout", "batch_size")
    return {name: _fresh()[name] for name in names} | {"learning_rate": Uniform(3e-4, 3e-3, log=True)}


def _continued_first() -> Mapping[str, Number]:
    return {"dropout": 0.3, "learning_rate": 1e-3, "weight_decay": 1.0, "numeric_dropout": 0.1, "batch_size": 512}


@dataclass(frozen=True)
class SearchSpace:
    """What is varied when a network begins afresh, and when it goes on from a champion's weights.

    ``first`` and ``continued_first`` are the first trials, so that no search ends below them. Steps of a continued
    network are small, since what is known is to be kept; its architecture is given. The values by default suit some
    hundred thousand rows of some dozen features (docs/training.md).
    """

    fresh: Space = field(default_factory=_fresh)
    first: Mapping[str, Number] = field(default_factory=_first)
    continued: Space = field(default_factory=_continued)
    continued_first: Mapping[str, Number] = field(default_factory=_continued_first)

    def __post_init__(self) -> None:
        fixed = set(ARCHITECTURE) - {"dropout"}
        _check("fresh", self.fresh, self.first, GIVEN)
        _check("continued", self.continued, self.continued_first, GIVEN | fixed)
        if "dropout" not in self.continued:
            raise ValueError("the search space 'continued' must have 'dropout': a network that goes on needs one")


def _check(what: str, space: Space, first: Mapping[str, Number], refused: frozenset[str] | set[str]) -> None:
    known = [name for name in (*ARCHITECTURE, *TRAINING) if name not in refused]
    if unknown := sorted(set(space) - set(known)):
        raise ValueError(f"the search space {what!r} varies {unknown}; what it may vary is {known}")
    if set(first) != set(space):
        raise ValueError(
            f"the first trial of the search space {what!r} must say {sorted(space)}, and says {sorted(first)}"
        )
    if outside := sorted(name for name, value in first.items() if not space[name].has(value)):
        raise ValueError(f"the first trial of the search space {what!r} lies outside of it in {outside}")
