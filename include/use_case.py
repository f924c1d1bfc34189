"""What a domain supplies: contracts, tiles, features, labels, a search space and thresholds.

The only door to ``include/use_cases``.

Everything else in the project works on a ``UseCase`` and knows no domain. A use case is a package
``include.use_cases.<name>`` with a module-level ``USE_CASE``.
"""

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING

from include.contracts.contract import Contract
from include.declaration import faults
from include.features.spec import FeatureSet
from include.quality import DIMENSIONS
from include.search import SearchSpace
from include.target import BINARY, Target
from include.tiles.spec import MINUTES_PER_DAY, Tile, days_of_history

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

#: The environment variable with a deployment's own first day of facts, YYYY-MM-DD.
HISTORY_START = "LAMBDA_DL_HISTORY_START"
#: The environment variable with how many closed days this deployment's MySQL keeps.
RECENT_DAYS = "LAMBDA_DL_RECENT_DAYS"

#: Raw facts by source -> one row per labelled subject: ``label_day`` string, ``subject_id`` string, ``label`` int
#: (0/1, or a count: ``target`` says which), ``outcome`` string. Many days are labelled at once: every frame has
#: ``label_day``, the subjects their own, every other fact once for each day whose horizon it was available in. So the
#: function joins on ``label_day`` as well as on keys, and cannot see a fact from beyond the horizon.
LabelFunction = Callable[[Mapping[str, "DataFrame"]], "DataFrame"]


@dataclass(frozen=True)
class Gate:
    """The thresholds a candidate must pass to become champion; all figures are of the held-out test days.

    Skill and loss are those of the use case's ``target``: AUC and log-loss in nats, or D² and Poisson deviance.

    - ``minimum_skill_gain``: the lower end of the paired bootstrap interval (level ``confidence``) of the lead over the
      champion must be above it;
    - ``maximum_loss_excess``: the candidate's loss may exceed the champion's by so much;
    - ``maximum_slice_loss_excess``: and by so much on any value of the use case's ``slices`` with at least
      ``minimum_slice_rows`` rows;
    - ``minimum_parity``: least share of served feature rows that batch computes alike, on each of the last
      ``parity_days`` days that have been compared;
    - ``maximum_predict_ms``: 95th percentile of the processor time that one row takes, milliseconds.

    The data of the training days must pass ``Quality.thresholds`` besides.
    """

    minimum_test_rows: int = 200
    minimum_skill_gain: float = 0.0
    confidence: float = 0.95
    maximum_loss_excess: float = 0.0
    maximum_calibration_error: float = 0.10
    maximum_slice_loss_excess: float = 0.05
    minimum_slice_rows: int = 200
    minimum_parity: float = 0.999
    parity_days: int = 7
    maximum_predict_ms: float = 25.0


@dataclass(frozen=True)
class Serving:
    """What the short-term store shows: how many recent days MySQL keeps, and the statements that fill it."""

    recent_days: int = 7
    statistics: Mapping[str, Callable[[Mapping[str, "DataFrame"]], "DataFrame"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Quality:
    """What good facts are, beyond their contracts, and how good they must be to train on.

    ``accuracy``: source -> a condition in Spark SQL on the fields of one fact, true when they agree with each other.
    ``about_subjects``: the sources whose key is the subject's id. ``empty_says``: source -> nullable fields whose
    emptiness is itself a statement (no gust blew, no aircraft was assigned), which completeness does not count. Rows
    ingested within ``timely_hours`` of landing are in time. ``thresholds``: dimension (``include.quality.DIMENSIONS``)
    -> the least share on every day of training.
    """

    accuracy: Mapping[str, str] = field(default_factory=dict)
    about_subjects: tuple[str, ...] = ()
    empty_says: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    timely_hours: int = 24
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.thresholds) - set(DIMENSIONS)
        if unknown:
            raise ValueError(f"thresholds for {sorted(unknown)}: the dimensions of quality are {', '.join(DIMENSIONS)}")


@dataclass(frozen=True)
class UseCase:
    """One prediction problem over immutable facts.

    The subjects are the facts of ``subject_source`` (their key is the subject's id); ``subject_time`` is the field
    that says when the subject happens, and the default prediction time lies ``prediction_lead_minutes`` before it.
    Nearer than ``minimum_lead_minutes`` a fact about the subject itself could be known, so such queries are rejected.
    A subject's *day* (``ds`` of features and labels) is the UTC date of its default prediction time.
    ``label_horizon_days`` after the end of a day its labels close. ``history_start`` is the first day of facts.

    Raises ``ValueError`` saying all that is wrong with the declaration (``include.declaration``).
    """

    name: str
    comment: str
    history_start: date
    sources: tuple[Contract, ...]
    subject: Contract
    subject_source: str
    subject_time: str
    prediction_lead_minutes: int
    minimum_lead_minutes: int
    tiles: tuple[Tile, ...]
    features: FeatureSet
    labels: LabelFunction
    #: What the labels are: whether something happens, or how many there are.
    target: Target = BINARY
    label_horizon_days: int = 1
    #: A source silent for longer than this before the prediction time makes an answer degraded.
    silence_minutes: Mapping[str, int] = field(default_factory=dict)
    gate: Gate = field(default_factory=Gate)
    serving: Serving = field(default_factory=Serving)
    quality: Quality = field(default_factory=Quality)
    search: SearchSpace = field(default_factory=SearchSpace)
    #: Features whose values cut the test days into slices that the model card tells apart.
    slices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if found := list(faults(self)):
            raise ValueError(f"use case {self.name!r}: {'; '.join(found)}")

    def source(self, name: str) -> Contract:
        """Return the contract of the source called ``name``; raises ``KeyError`` naming those that exist."""
        for contract in self.sources:
            if contract.name == name:
                return contract
        raise KeyError(f"use case {self.name!r} has no source {name!r}; it has {[c.name for c in self.sources]}")

    @property
    def history_days(self) -> int:
        """How many whole earlier days of tiles the windows of one day need."""
        return days_of_history(self.features.windows)

    @property
    def lead_days(self) -> int:
        """How many days before a prediction's day the subject's own day may lie: who asks later asks nearer."""
        return -(-self.prediction_lead_minutes // MINUTES_PER_DAY)


def too_near(use_case: UseCase) -> str:
    """What is wrong with a prediction time nearer than the minimum lead."""
    return (
        f"is later than {use_case.minimum_lead_minutes} minutes before {use_case.subject_time}: "
        "the outcome could be known by then"
    )


def load_use_case(name: str, environment: Mapping[str, str] = os.environ) -> UseCase:
    """Import ``include.use_cases.<name>`` and return its ``USE_CASE``; raises ``ValueError`` if there is none.

    A deployment whose facts begin on another day says so in ``LAMBDA_DL_HISTORY_START``; one whose short-term store
    keeps another number of days, in ``LAMBDA_DL_RECENT_DAYS``.
    """
    try:
        module = importlib.import_module(f"include.use_cases.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"include.use_cases.{name}":
            raise
        raise ValueError(f"no use case {name!r}: there is no package include/use_cases/{name}") from error
    use_case = module.USE_CASE
    if not isinstance(use_case, UseCase):
        raise ValueError(f"include.use_cases.{name}.USE_CASE is not a UseCase")
    if start := environment.get(HISTORY_START):
        use_case = replace(use_case, history_start=date.fromisoformat(start))
    if days := environment.get(RECENT_DAYS):
        use_case = replace(use_case, serving=replace(use_case.serving, recent_days=whole_number(RECENT_DAYS, days)))
    return use_case


def whole_number(name: str, text: str) -> int:
    """A setting that counts something; raises ``ValueError`` naming it if it is no number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"setting {name} is {text!r}, which is not a whole number from 1 on")
    return int(text)
