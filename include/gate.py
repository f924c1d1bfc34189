"""The gate's rules: what was found out about a candidate -> whether it may become champion, and if not, why, in words.

Pure: the figures come from ``promotion``, the thresholds from the use case (``use_case.Gate``). Every refusal has the
number and the threshold that it misses. Without a comparable champion only the absolute rules are asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from include.quality import Shortfall
from include.training.intervals import Difference
from include.training.metrics import Quality
from include.use_case import Gate

#: Failing slices and days are many or few; so many are named, the worst first.
NAMED = 5


@dataclass(frozen=True)
class SliceLosses:
    """The loss of candidate and champion on the test rows where ``feature`` has ``value``."""

    feature: str
    value: str
    rows: int
    candidate: float
    champion: float

    @property
    def excess(self) -> float:
        """How much worse the candidate is."""
        return self.candidate - self.champion


@dataclass(frozen=True)
class Rival:
    """The champion on the candidate's test days; ``lead`` is candidate less champion, by metric, on paired resamples
    of ``units`` ``unit``s."""

    model_id: str
    quality: Quality
    lead: Mapping[str, Difference]
    unit: str
    units: int
    slices: tuple[SliceLosses, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What is known of a candidate.

    ``days`` are its test days, ``parity`` the share of served features that batch computes alike, by recent day,
    ``shortfalls`` what its training days lack in data quality, ``withdrawn`` the facts it was trained on that have been
    retracted since, in words (empty: none), ``predict_ms`` the 95th percentile of the processor time that one
    row takes (milliseconds). ``notes`` say what could not be compared and what favours whom.
    """

    days: tuple[str, ...]
    candidate: Quality
    base_rate: Quality
    rival: Rival | None
    predict_ms: float
    parity: Mapping[str, float] = field(default_factory=dict)
    shortfalls: tuple[Shortfall, ...] = ()
    withdrawn: str = ""
    notes: tuple[str, ...] = ()

    def metrics(self) -> dict[str, Any]:
        """The figures as a JSON object: quality by role, the lead with its interval, the time of one row."""
        found: dict[str, Any] = {
            "candidate": self.candidate.to_json(),
            "base_rate": self.base_rate.to_json(),
            "predict_ms": round(self.predict_ms, 3),
        }
        if self.rival:
            found["champion"] = self.rival.quality.to_json()
            found["lead"] = {name: lead.to_json() for name, lead in self.rival.lead.items()}
        return found


@dataclass(frozen=True)
class Check:
    """One rule: the number, its threshold, whether it holds, and in ``words`` what is wrong if it does not."""

    name: str
    value: float
    threshold: float
    passed: bool
    words: str

    def to_json(self) -> dict[str, Any]:
        """The rule's outcome as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Decision:
    """Whether to promote, and why (not), in words; ``checks`` are all rules that were asked."""

    promote: bool
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]


def decide(evidence: Evidence, gate: Gate, accept_quality: bool = False) -> Decision:
    """Apply every rule. ``accept_quality``: a person has accepted that training days fall short of the scorecard."""
    checks = [
        *_absolute(evidence, gate),
        *(_relative(evidence.candidate, evidence.rival, gate) if evidence.rival else []),
        *_parity(evidence.parity, gate),
        *([] if accept_quality else _scorecard(evidence.shortfalls)),
        *_withdrawn(evidence.withdrawn),
    ]
    refusals = tuple(check.words for check in checks if not check.passed)
    return Decision(not refusals, refusals or (_praise(evidence),), tuple(checks))


def brief(model_id: str, evidence: Evidence, decision: Decision) -> str:
    """What somebody must know who is to approve, as Markdown."""
    roles = [("candidate", evidence.candidate), ("base rate", evidence.base_rate)]
    if evidence.rival:
        roles.insert(1, (f"champion {evidence.rival.model_id[:12]}", evidence.rival.quality))
    figures = [f"| {role} | {q.skill:.4f} | {q.loss:.4f} | {q.calibration_error:.4f} | {q.rows} |" for role, q in roles]
    target = evidence.candidate.target
    return "\n".join(
        (
            f"The gate lets candidate `{model_id}` pass. Test days {evidence.days[0]} to {evidence.days[-1]}:",
            "",
            f"| | {target.skill.words} | {target.loss.words} | calibration error | rows |",
            "|---|---|---|---|---|",
            *figures,
            "",
            *(f"- {reason}" for reason in (*decision.reasons, *evidence.notes)),
            f"- one row is predicted in {evidence.predict_ms:.1f} ms (95th percentile)",
        )
    )


def _absolute(evidence: Evidence, gate: Gate) -> list[Check]:
    found, base = evidence.candidate, evidence.base_rate
    skill, loss, chance = found.target.skill, found.target.loss, found.target.no_skill
    return [
        Check(
            "test_rows",
            found.rows,
            gate.minimum_test_rows,
            found.rows >= gate.minimum_test_rows,
            f"{found.rows} test rows, fewer than {gate.minimum_test_rows}",
        ),
        Check(
            skill.name,
            found.skill,
            chance,
            found.skill > chance,
            f"{skill.words} {found.skill:.4f} is no better than chance, {chance:g}",
        ),
        Check(
            loss.name,
            found.loss,
            base.loss,
            found.loss < base.loss,
            f"{loss.words} {found.loss:.4f} is no better than the base rate's {base.loss:.4f}",
        ),
        Check(
            "calibration",
            found.calibration_error,
            gate.maximum_calibration_error,
            found.calibration_error <= gate.maximum_calibration_error,
            f"calibration error {found.calibration_error:.4f} is above {gate.maximum_calibration_error:.4f}",
        ),
        Check(
            "latency",
            evidence.predict_ms,
            gate.maximum_predict_ms,
            evidence.predict_ms <= gate.maximum_predict_ms,
            f"one row takes {evidence.predict_ms:.2f} ms (95th percentile), more than {gate.maximum_predict_ms:g} ms",
        ),
    ]


def _relative(candidate: Quality, rival: Rival, gate: Gate) -> list[Check]:
    skill, loss = candidate.target.skill, candidate.target.loss
    lead, excess = rival.lead[skill.name], candidate.loss - rival.quality.loss
    return [
        Check(
            "beats_champion",
            lead.interval.low,
            gate.minimum_skill_gain,
            lead.interval.low > gate.minimum_skill_gain,
            f"{skill.words} {candidate.skill:.4f} does not beat the champion's {rival.quality.skill:.4f} beyond "
            f"chance: the lead is {_lead(lead)} ({gate.confidence:.0%}, {rival.units} {rival.unit}s), and its lower "
            f"end must be above {gate.minimum_skill_gain:.4f}",
        ),
        Check(
            f"{loss.name}_of_champion",
            excess,
            gate.maximum_loss_excess,
            excess <= gate.maximum_loss_excess,
            f"{loss.words} {candidate.loss:.4f} exceeds the champion's {rival.quality.loss:.4f} "
            f"by more than {gate.maximum_loss_excess:.4f}",
        ),
        *_slices(rival.slices, loss.words, gate),
    ]


def _slices(slices: Sequence[SliceLosses], loss: str, gate: Gate) -> list[Check]:
    large = [one for one in slices if one.rows >= gate.minimum_slice_rows]
    worst = sorted(large, key=lambda one: -one.excess)[:NAMED]
    failing = [one for one in worst if one.excess > gate.maximum_slice_loss_excess]
    return [
        Check(
            f"slice {one.feature}={one.value}",
            one.excess,
            gate.maximum_slice_loss_excess,
            one not in failing,
            f"where {one.feature} is {one.value} ({one.rows} rows) {loss} {one.candidate:.4f} exceeds the champion's "
            f"{one.champion:.4f} by more than {gate.maximum_slice_loss_excess:.4f}",
        )
        for one in failing or worst[:1]
    ]


def _parity(parity: Mapping[str, float], gate: Gate) -> list[Check]:
    worst = sorted(parity.items(), key=lambda day: (day[1], day[0]))[:NAMED]
    failing = [(ds, share) for ds, share in worst if share < gate.minimum_parity]
    return [
        Check(
            f"parity {ds}",
            share,
            gate.minimum_parity,
            share >= gate.minimum_parity,
            f"on {ds} only {share:.4%} of the served feature rows equal their recomputation in batch, fewer than "
            f"{gate.minimum_parity:.4%}: a model would not get the features that it was trained on",
        )
        for ds, share in failing or worst[:1]
    ]


def _scorecard(shortfalls: Sequence[Shortfall]) -> list[Check]:
    return [
        Check(
            f"scorecard {found.source} {found.ds} {found.dimension}",
            found.value,
            found.threshold,
            False,
            f"trained on a day of poor data: {found.words()}",
        )
        for found in shortfalls[:NAMED]
    ]


def _withdrawn(words: str) -> list[Check]:
    return [Check("withdrawn", 1, 0, False, f"trained on facts that were retracted: {words}")] if words else []


def _praise(evidence: Evidence) -> str:
    found, rival = evidence.candidate, evidence.rival
    skill, loss = found.target.skill, found.target.loss
    beaten = (
        f"the champion's {rival.quality.skill:.4f} by {_lead(rival.lead[skill.name])}"
        if rival
        else f"{found.target.no_skill:g} of the base rate"
    )
    return (
        f"{skill.words} {found.skill:.4f} beats {beaten}; {loss.words} {found.loss:.4f}; "
        f"calibration error {found.calibration_error:.4f}; one row in {evidence.predict_ms:.2f} ms"
    )


def _lead(difference: Difference) -> str:
    return f"{difference.value:+.4f} [{difference.interval.low:+.4f}, {difference.interval.high:+.4f}]"
