"""What each kind of feature is worth: LightGBM on more and more of them, on the published split.

LightGBM, because it takes whatever columns it is given without tuning anything to them; its fixed defaults, with early
stopping on the validation days. It knows the features by their names: not networks.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from include.target import BINARY
from include.training.dataset import Dataset, Rows
from include.training.encoding import Encoders
from include.training.material import Material
from include.training.metrics import Quality, quality
from include.training.rivals import LightGbm
from include.use_case import UseCase
from tests.bench.training.material import IN_MEMORY

WEATHER = ("weather_", "rain_")
QUEUE = ("origin_queue", "origin_carrier_queue")
CANCELLED = ("origin_cancelled", "origin_carrier_cancelled")
LEG = ("previous_departure", "previous_arrival", "previous_leg_known", "previous_leg_in_air", "turnaround_slack")
WAY_BACK = ("previous_leg_minutes", "return_slack", "airborne_slack")
DEPARTED = ("_departed_", "_arrived_", "origin_late_trend")


@dataclass(frozen=True)
class Step:
    """Figures on the test days once a kind of feature was added to those above it."""

    added: str
    features: int
    figures: Quality


def kind_of(name: str) -> str:
    """Which kind of feature it is."""
    kinds: dict[str, Callable[[str], bool]] = {
        "weather": lambda n: n.startswith(WEATHER),
        "queue and cancellations": lambda n: n.startswith((*QUEUE, *CANCELLED)),
        "the aircraft's last leg": lambda n: n.startswith(LEG),
        "the aircraft's way back": lambda n: n in WAY_BACK,
        "windows of departures and arrivals": lambda n: any(part in n for part in DEPARTED),
    }
    return next((kind for kind, is_it in kinds.items() if is_it(name)), "timetable, calendar and references")


ORDER = (
    "timetable, calendar and references",
    "weather",
    "windows of departures and arrivals",
    "queue and cancellations",
    "the aircraft's last leg",
    "the aircraft's way back",
)


def steps(use_case: UseCase, dataset: Dataset, threads: int) -> list[Step]:
    """One kind after the other."""
    found: list[Step] = []
    taken: set[str] = set()
    for kind in ORDER:
        taken |= {feature.name for feature in use_case.features.features if kind_of(feature.name) == kind}
        features = tuple(feature for feature in use_case.features.features if feature.name in taken)
        train, validation, test = (only(rows, taken) for rows in (dataset.train, dataset.validation, dataset.test))
        encoders = Encoders.fit(replace(use_case.features, features=features), train.columns)
        boosted = LightGbm(Material.of(encoders, train, validation, IN_MEMORY), seed=0, threads=threads)
        found.append(Step(kind, len(features), quality(BINARY, test.labels, boosted.validated_answers(test))))
    return found


def only(rows: Rows, names: set[str]) -> Rows:
    """The rows with some of their columns."""
    return replace(rows, stored={name: column for name, column in rows.stored.items() if name in names})


def report(found: list[Step]) -> list[str]:
    """The table."""
    lines = ["| with | features | test AUC | log-loss |", "|---|---|---|---|"]
    return [*lines, *(f"| {s.added} | {s.features} | {s.figures.skill:.4f} | {s.figures.loss:.4f} |" for s in found)]
