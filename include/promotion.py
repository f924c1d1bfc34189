"""The gate: is a candidate better than the champion on the same days? If so, the ledger and the broadcast.

Functions that a task calls; repeating one changes nothing that is already so. It does not know Airflow, nor who
serves the model: the speed service listens to the broadcast and answers on the metrics topic.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from include.broadcast import Announce, announcer, rfc3339
from include.bundle.bundle import Bundle, load_bundle
from include.bundle.store import ObjectStore, S3Store
from include.champion import load_champion, overlap
from include.ledger import Entry, LedgerConflict, announcement, append, champion, read_ledger
from include.locations import MODELS_BUCKET, Topics
from include.settings import KafkaSettings, S3Settings
from include.training import messages
from include.training.dataset import Rows, Tables, check_rows, read_rows
from include.training.evaluation import answers_of
from include.training.metrics import Quality, quality
from include.training.scratch import scratch_from_environment
from include.use_case import Gate, UseCase

ATTEMPTS = 10


@dataclass(frozen=True)
class Systems:
    """The systems that a promotion talks to."""

    models: ObjectStore
    tables: Tables
    announce: Announce

    @classmethod
    def from_environment(cls, use_case: str) -> "Systems":
        """Connect by the settings in the environment."""
        s3, kafka = S3Settings.from_environment(), KafkaSettings.from_environment()
        return cls(
            S3Store(s3, MODELS_BUCKET),
            Tables.on_s3(use_case, s3),
            announcer(kafka),
        )


@dataclass(frozen=True)
class Decision:
    """Whether to promote, and why (not), in words."""

    promote: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Candidate, champion and base rate on the same test days. Without a comparable champion, ``note`` says why."""

    days: tuple[str, ...]
    candidate: Quality
    base_rate: Quality
    champion: Quality | None
    note: str


@dataclass(frozen=True)
class Promotion:
    """What came of it. ``sequence`` is the ledger line that names the model, ``None`` if it was refused."""

    model_id: str
    promoted: bool
    sequence: int | None
    parent_id: str | None
    reasons: tuple[str, ...]
    metrics: dict[str, Any]


def decide(candidate: Quality, champion: Quality | None, base_rate: Quality, gate: Gate) -> Decision:
    """Apply the gate. A candidate must beat the base rate, and the champion if there is a comparable one."""
    refusals = [*_absolute(candidate, base_rate, gate), *(_relative(candidate, champion, gate) if champion else [])]
    if refusals:
        return Decision(False, tuple(refusals))
    rival = f"the champion's {champion.auc:.4f}" if champion else "0.5 of the base rate"
    return Decision(True, (f"AUC {candidate.auc:.4f} beats {rival}; log-loss {candidate.log_loss:.4f}",))


def compare(systems: Systems, use_case: UseCase, candidate: Bundle, head: Entry | None) -> Comparison:
    """Score candidate and champion on the candidate's test days, from its pinned tables.

    Raises ``DatasetError`` if there are too few rows, ``FeatureMismatch`` if the candidate itself no longer fits.
    """
    lineage = candidate.lineage
    days = _test_days(candidate)
    share = float(lineage["train_positive_share"])
    with scratch_from_environment() as scratch:
        rows = read_rows(systems.tables, lineage["tables"], use_case.features, days, scratch)
        check_rows("test", rows, minimum=1)
        rival, note = _champion_quality(systems, use_case, candidate, head, rows)
        return Comparison(
            days=days,
            candidate=_quality_of(candidate, rows),
            base_rate=quality(rows.labels, np.full(len(rows), share)),
            champion=rival,
            note=note,
        )


def promote(systems: Systems, use_case: UseCase, model_id: str, run_id: str, actor: str) -> Promotion:
    """Judge a candidate and, if it passes, append it to the ledger and broadcast it.

    Run again it broadcasts again and changes nothing. A refusal is kept and broadcast with its reasons. If somebody
    else appends first, the candidate is judged again, against the new champion.
    """
    candidate = load_bundle(systems.models, use_case.name, model_id, use_case.features)
    for _ in range(ATTEMPTS):
        ledger = read_ledger(systems.models, use_case.name)
        head = ledger[-1] if ledger else None
        earlier = [entry for entry in ledger if entry.model_id == model_id and entry.run_id == run_id]
        if head and head.model_id == model_id:
            return _again(systems, use_case, head)
        if earlier:
            return _superseded(earlier[-1], head)
        comparison = compare(systems, use_case, candidate, head)
        decision = decide(comparison.candidate, comparison.champion, comparison.base_rate, use_case.gate)
        if not decision.promote:
            return _refuse(systems, use_case, candidate, run_id, comparison, decision)
        try:
            entry = append(systems.models, use_case.name, _entry(candidate, head, run_id, actor, comparison, decision))
        except LedgerConflict:
            continue
        _announce(systems, use_case, entry)
        _announce_quality(systems, use_case, candidate, run_id, comparison, head)
        return _promotion(entry, decision.reasons)
    raise RuntimeError(f"the ledger of {use_case.name!r} moved on {ATTEMPTS} times while deciding: try again")


def current(systems: Systems, use_case: UseCase) -> Entry | None:
    """The ledger line that names the champion."""
    return champion(systems.models, use_case.name)


def _absolute(candidate: Quality, base_rate: Quality, gate: Gate) -> list[str]:
    rules = [
        (candidate.rows >= gate.minimum_test_rows, f"{candidate.rows} test rows, fewer than {gate.minimum_test_rows}"),
        (candidate.auc > 0.5, f"AUC {candidate.auc:.4f} is no better than chance"),
        (
            candidate.log_loss < base_rate.log_loss,
            f"log-loss {candidate.log_loss:.4f} is no better than the base rate's {base_rate.log_loss:.4f}",
        ),
        (
            candidate.calibration_error <= gate.maximum_calibration_error,
            f"calibration error {candidate.calibration_error:.4f} is above {gate.maximum_calibration_error:.4f}",
        ),
    ]
    return [reason for passed, reason in rules if not passed]


def _relative(candidate: Quality, champion: Quality, gate: Gate) -> list[str]:
    rules = [
        (
            candidate.auc > champion.auc + gate.minimum_auc_gain,
            f"AUC {candidate.auc:.4f} does not beat the champion's {champion.auc:.4f} by {gate.minimum_auc_gain:.4f}",
        ),
        (
            candidate.log_loss <= champion.log_loss + gate.maximum_log_loss_excess,
            f"log-loss {candidate.log_loss:.4f} exceeds the champion's {champion.log_loss:.4f} "
            f"by more than {gate.maximum_log_loss_excess:.4f}",
        ),
    ]
    return [reason for passed, reason in rules if not passed]


def _champion_quality(
    systems: Systems, use_case: UseCase, candidate: Bundle, head: Entry | None, rows: Rows
) -> tuple[Quality | None, str]:
    if head is None:
        return None, "the first champion: judged against the base rate"
    bundle, note = load_champion(systems.models, use_case, head.model_id)
    if bundle is None:
        return None, f"{note}: judged against the base rate"
    return _quality_of(bundle, rows), overlap(bundle, _test_days(candidate))


def _quality_of(bundle: Bundle, rows: Rows) -> Quality:
    return quality(rows.labels, answers_of(lambda some: bundle.probabilities(some.columns), rows))


def _test_days(candidate: Bundle) -> tuple[str, ...]:
    return tuple(candidate.lineage["split"]["test"]["days"])


def _entry(
    candidate: Bundle, head: Entry | None, run_id: str, actor: str, comparison: Comparison, decision: Decision
) -> Entry:
    return Entry(
        sequence=head.sequence + 1 if head else 1,
        time=_now(),
        event="promoted",
        model_id=candidate.model_id,
        parent_id=head.model_id if head else None,
        actor=actor,
        reason="; ".join((*decision.reasons, *([comparison.note] if comparison.note else []))),
        run_id=run_id,
        metrics=_metrics(comparison),
    )


def _metrics(comparison: Comparison) -> dict[str, Any]:
    roles = {"candidate": comparison.candidate, "base_rate": comparison.base_rate, "champion": comparison.champion}
    return {role: figures.to_json() for role, figures in roles.items() if figures}


def _promotion(entry: Entry, reasons: tuple[str, ...]) -> Promotion:
    return Promotion(entry.model_id, True, entry.sequence, entry.parent_id, reasons, entry.metrics)


def _again(systems: Systems, use_case: UseCase, head: Entry) -> Promotion:
    _announce(systems, use_case, head)
    return _promotion(head, (f"already the champion, ledger line {head.sequence}: broadcast again",))


def _superseded(earlier: Entry, head: Entry | None) -> Promotion:
    now = f"; the champion is now {head.model_id[:12]}, line {head.sequence}" if head else ""
    reason = f"this run promoted the model before, ledger line {earlier.sequence}{now}"
    return Promotion(earlier.model_id, False, None, earlier.parent_id, (reason,), earlier.metrics)


def _refuse(
    systems: Systems, use_case: UseCase, candidate: Bundle, run_id: str, comparison: Comparison, decision: Decision
) -> Promotion:
    reasons = (*decision.reasons, *([comparison.note] if comparison.note else []))
    head = champion(systems.models, use_case.name)
    now = _now()
    metric_id = f"{run_id}:model_rejected:{candidate.model_id}"
    message = {
        "metric_id": metric_id,
        "kind": "model_rejected",
        "use_case": use_case.name,
        "ds": now[:10],
        "time": now,
        "run_id": run_id,
        "model_id": candidate.model_id,
        "instance": "gate",
        "reasons": list(reasons),
    }
    systems.announce(Topics(use_case.name).metrics, [(metric_id, message)])
    _announce_quality(systems, use_case, candidate, run_id, comparison, head)
    parent = head.model_id if head else None
    return Promotion(candidate.model_id, False, None, parent, reasons, _metrics(comparison))


def _announce(systems: Systems, use_case: UseCase, entry: Entry) -> None:
    systems.announce(Topics(use_case.name).models, [announcement(use_case.name, entry)])


def _announce_quality(
    systems: Systems, use_case: UseCase, candidate: Bundle, run_id: str, comparison: Comparison, head: Entry | None
) -> None:
    """The candidate's and the champion's quality on the same days, as the gate saw them."""
    judged = [("candidate", candidate.model_id, comparison.candidate)]
    if head and comparison.champion:
        judged.append(("champion", head.model_id, comparison.champion))
    now = _now()
    rows = [
        messages.model_quality(use_case.name, run_id, now, model_id, role, "test", comparison.days, figures)
        for role, model_id, figures in judged
    ]
    systems.announce(Topics(use_case.name).metrics, [(row["metric_id"], row) for row in rows])


def _now() -> str:
    return rfc3339(datetime.now(UTC))
