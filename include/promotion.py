"""A candidate's way to the ledger: what the gate asks is found out, its verdict is kept, a champion is broadcast.

Functions that a task calls; repeating one changes nothing that is already so. It does not know Airflow, nor who
serves the model: the speed service listens to the broadcast and answers on the metrics topic.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from deltalake.exceptions import TableNotFoundError
from numpy.typing import NDArray

from include.broadcast import Announce, announcer, rfc3339
from include.bundle.bundle import Bundle, load_bundle
from include.bundle.store import ObjectStore, S3Store
from include.champion import load_champion, overlap
from include.gate import Decision, Evidence, Rival, SliceLosses, brief, decide
from include.ledger import Entry, LedgerConflict, announcement, append, champion, read_ledger
from include.locations import MODELS_BUCKET, Topics
from include.predictions.parity import PARITY
from include.predictions.parity import SOURCE as PREDICTIONS
from include.quality import Shortfall, newest_values, shortfalls
from include.refusals import Refusal, keep
from include.retraction import Touched, read_events, touched_by_now, words_of
from include.settings import KafkaSettings, S3Settings
from include.tables import DATA_QUALITY
from include.tombstones import counted, retracted_keys
from include.training import messages
from include.training.dataset import Rows, Tables, check_rows, read_rows
from include.training.evaluation import CANDIDATE, Answers, answers_of, slice_quality
from include.training.intervals import Difference, Resamples, interval
from include.training.metrics import quality
from include.training.scratch import scratch_from_environment
from include.use_case import UseCase

Doubles = NDArray[np.float64]
#: Single rows that are timed, after some that are not.
TIMED_ROWS = 200
WARM_UP = 20
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
class Promotion:
    """What came of it. ``sequence`` is the ledger line that names the model, ``None`` if it was refused; ``time`` is
    the line's (RFC 3339, UTC)."""

    model_id: str
    promoted: bool
    sequence: int | None
    parent_id: str | None
    reasons: tuple[str, ...]
    metrics: dict[str, Any]
    time: str = ""


@dataclass(frozen=True)
class Approval:
    """What came of asking a person. ``by`` is empty if nobody answered in time; that counts as a rejection."""

    approved: bool
    by: str
    comment: str = ""

    def words(self) -> str:
        """For the ledger and for refusals."""
        if not self.by:
            return "nobody approved it in time"
        said = f": {self.comment}" if self.comment else ""
        return f"{'approved' if self.approved else 'rejected'} by {self.by}{said}"


def gather(systems: Systems, use_case: UseCase, candidate: Bundle, head: Entry | None) -> Evidence:
    """Find out what the gate asks: candidate and champion on the candidate's test days, from its pinned tables.

    Raises ``DatasetError`` if there are too few rows, ``FeatureMismatch`` if the candidate itself no longer fits.
    """
    lineage = candidate.lineage
    days = _days(candidate, "test")
    mean = float(lineage["train_mean_label"])
    touched = touched_by_now(systems.tables, use_case)
    scorecard = counted(quality_rows(systems.tables), retracted_keys(read_events(systems.tables)))
    parity, shortfalls, unassessed = judged_data(scorecard, use_case, _days(candidate, "train", "validation", "test"))
    with scratch_from_environment() as scratch:
        rows = read_rows(systems.tables, lineage["tables"], use_case.features, use_case.target, days, scratch)
        check_rows("test", rows, minimum=1)
        answers = answers_of(lambda some: candidate.answers(some.columns), rows)
        rival, note = _rival(systems, use_case, candidate, head, rows, answers, touched)
        return Evidence(
            days=days,
            candidate=quality(rows.target, rows.labels, answers),
            base_rate=quality(rows.target, rows.labels, np.full(len(rows), mean)),
            rival=rival,
            predict_ms=time_of_one_row(candidate, rows),
            parity=parity,
            shortfalls=shortfalls,
            withdrawn=words_of(touched(lineage)),
            notes=tuple(filter(None, (note, unassessed))),
        )


def judge(
    systems: Systems, use_case: UseCase, model_id: str, run_id: str, actor: str, accept_quality: bool = False
) -> str:
    """Judge a candidate before a person is asked: figures and reasons as Markdown.

    Empty if the gate refuses: then there is nothing to ask, and the refusal is kept and broadcast as by ``promote``.
    """
    candidate = load_bundle(systems.models, use_case.name, model_id, use_case.features)
    head = current(systems, use_case)
    if head and head.model_id == model_id:
        return f"It is the champion already, by ledger line {head.sequence}: to approve broadcasts it again."
    evidence = _accepted(gather(systems, use_case, candidate, head), actor, accept_quality)
    decision = decide(evidence, use_case.gate, accept_quality)
    if decision.promote:
        return brief(model_id, evidence, decision)
    _refuse(systems, use_case, candidate, run_id, actor, evidence, decision, head)
    return ""


def promote(
    systems: Systems,
    use_case: UseCase,
    model_id: str,
    run_id: str,
    actor: str,
    accept_quality: bool = False,
    approval: Approval | None = None,
) -> Promotion:
    """Judge a candidate and, if it passes, append it to the ledger and broadcast it.

    Run again it broadcasts again and changes nothing. A refusal is kept (``refusals``) and broadcast with its reasons.
    If somebody else appends first, the candidate is judged again, against the new champion. ``accept_quality``: the
    actor accepts that the data of a training day is below a threshold; that is said in the ledger. ``approval``: what a
    person has answered, if one was asked; a rejection is a refusal.
    """
    candidate = load_bundle(systems.models, use_case.name, model_id, use_case.features)
    for _ in range(ATTEMPTS):
        ledger = read_ledger(systems.models, use_case.name)
        head = ledger[-1] if ledger else None
        own = [entry for entry in ledger if entry.model_id == model_id and entry.run_id == run_id]
        done = None
        if head and head.model_id == model_id:
            done = _again(systems, use_case, head)
        elif own:
            done = _superseded(own[-1], head)
        if own:
            # The try that wrote this line may have ended before it told the figures.
            before = ledger[own[-1].sequence - 2] if own[-1].sequence > 1 else None
            _announce_quality(systems, use_case, candidate, run_id, gather(systems, use_case, candidate, before))
        if done:
            return done
        evidence = _accepted(gather(systems, use_case, candidate, head), actor, accept_quality)
        evidence, decision = _answered(evidence, decide(evidence, use_case.gate, accept_quality), approval)
        if not decision.promote:
            return _refuse(systems, use_case, candidate, run_id, actor, evidence, decision, head)
        try:
            entry = append(systems.models, use_case.name, _entry(candidate, head, run_id, actor, evidence, decision))
        except LedgerConflict:
            continue
        _announce(systems, use_case, entry)
        _announce_quality(systems, use_case, candidate, run_id, evidence)
        return _promotion(entry, decision.reasons)
    raise RuntimeError(f"the ledger of {use_case.name!r} moved on {ATTEMPTS} times while deciding: try again")


def _accepted(evidence: Evidence, actor: str, accept_quality: bool) -> Evidence:
    if not (accept_quality and evidence.shortfalls):
        return evidence
    accepted = "; ".join(found.words() for found in evidence.shortfalls)
    return replace(evidence, notes=(*evidence.notes, f"accepted by {actor}: {accepted}"))


def _answered(evidence: Evidence, decision: Decision, approval: Approval | None) -> tuple[Evidence, Decision]:
    """An approval is noted and cannot overrule the gate; a rejection refuses."""
    if approval is None:
        return evidence, decision
    if approval.approved:
        return replace(evidence, notes=(*evidence.notes, approval.words())), decision
    others = () if decision.promote else decision.reasons
    return evidence, replace(decision, promote=False, reasons=(approval.words(), *others))


def current(systems: Systems, use_case: UseCase) -> Entry | None:
    """The ledger line that names the champion."""
    return champion(systems.models, use_case.name)


def quality_rows(tables: Tables) -> list[dict[str, Any]]:
    """The scorecard as ``load_metrics`` has loaded it; empty while there is no such table."""
    columns = ["ds", "source", "dimension", "value", "time"]
    try:
        found: list[dict[str, Any]] = tables.open(DATA_QUALITY.name).to_pyarrow_table(columns=columns).to_pylist()
    except TableNotFoundError:
        return []
    return found


def judged_data(
    rows: Sequence[Mapping[str, Any]], use_case: UseCase, days: Sequence[str]
) -> tuple[dict[str, float], tuple[Shortfall, ...], str]:
    """From rows of ``data_quality``: parity by recent day, what ``days`` lack, and a note on days not assessed."""
    newest = newest_values(rows)
    shares = sorted(
        (ds, value) for (ds, source, dimension), value in newest.items() if (source, dimension) == (PREDICTIONS, PARITY)
    )
    wanted = set(days)
    training = [row for row in rows if str(row["ds"]) in wanted]
    unassessed = sorted(wanted - {str(row["ds"]) for row in training})
    note = f"no data quality is loaded of {len(unassessed)} of {len(wanted)} days" if unassessed else ""
    recent = dict(shares[-use_case.gate.parity_days :])
    return recent, tuple(shortfalls(training, use_case.quality.thresholds)), note


def time_of_one_row(candidate: Bundle, rows: Rows, repeats: int = TIMED_ROWS) -> float:
    """95th percentile of the processor time that the candidate takes for one row, in milliseconds, here, warm.

    Not by the clock: a night's Spark job on the same cores says nothing about a model.
    """
    some = [dict(rows.at(slice(i % len(rows), i % len(rows) + 1)).columns) for i in range(repeats)]
    for columns in some[:WARM_UP]:
        candidate.answers(columns)
    seconds = []
    for columns in some:
        started = time.process_time()
        candidate.answers(columns)
        seconds.append(time.process_time() - started)
    return float(np.percentile(seconds, 95) * 1000)


def _rival(
    systems: Systems,
    use_case: UseCase,
    candidate: Bundle,
    head: Entry | None,
    rows: Rows,
    answers: Doubles,
    touched: Touched,
) -> tuple[Rival | None, str]:
    if head is None:
        return None, "the first champion: judged against the base rate"
    bundle, note = load_champion(systems.models, use_case, head.model_id)
    if bundle is None:
        return None, f"{note}: judged against the base rate"
    if hit := touched(bundle.lineage):
        # It may owe its figures to the very facts that were wrong.
        return None, f"the champion was trained on retracted facts ({words_of(hit)}): judged against the base rate"
    champions = answers_of(lambda some: bundle.answers(some.columns), rows)
    found = compared(use_case, head.model_id, rows, answers, champions)
    return found, overlap(systems.models, bundle, _days(candidate, "test"))


def compared(use_case: UseCase, champion_id: str, rows: Rows, answers: Doubles, champions: Doubles) -> Rival:
    """Candidate and champion on the same rows, ``answers`` and ``champions`` float64 ``[n]``: the lead with its
    interval over the same resamples of days (rows, where the days are too few), and the losses on each slice."""
    gate, target, labels = use_case.gate, rows.target, rows.labels
    resamples = Resamples.draw(rows.days, seed=0)
    ours, theirs = quality(target, labels, answers), quality(target, labels, champions)
    skills, losses = (
        draw(target, labels, answers) - draw(target, labels, champions) for draw in (resamples.skill, resamples.loss)
    )
    lead = {
        target.skill.name: Difference(ours.skill - theirs.skill, interval(skills, gate.confidence)),
        target.loss.name: Difference(ours.loss - theirs.loss, interval(losses, gate.confidence)),
    }
    slices = [
        SliceLosses(one.feature, one.value, one.rows, one.loss, other.loss)
        for feature in use_case.slices
        for one, other in zip(
            slice_quality(rows, Answers(target, labels, {CANDIDATE: answers}), feature, gate.minimum_slice_rows),
            slice_quality(rows, Answers(target, labels, {CANDIDATE: champions}), feature, gate.minimum_slice_rows),
            strict=True,
        )
    ]
    return Rival(champion_id, theirs, lead, resamples.unit, resamples.units, tuple(slices))


def _days(bundle: Bundle, *spans: str) -> tuple[str, ...]:
    return tuple(day for span in spans for day in bundle.lineage["split"][span]["days"])


def _entry(
    candidate: Bundle, head: Entry | None, run_id: str, actor: str, evidence: Evidence, decision: Decision
) -> Entry:
    return Entry(
        sequence=head.sequence + 1 if head else 1,
        time=_now(),
        event="promoted",
        model_id=candidate.model_id,
        parent_id=head.model_id if head else None,
        actor=actor,
        reason="; ".join((*decision.reasons, *evidence.notes)),
        run_id=run_id,
        metrics=evidence.metrics(),
    )


def _promotion(entry: Entry, reasons: tuple[str, ...]) -> Promotion:
    return Promotion(entry.model_id, True, entry.sequence, entry.parent_id, reasons, entry.metrics, entry.time)


def _again(systems: Systems, use_case: UseCase, head: Entry) -> Promotion:
    _announce(systems, use_case, head)
    return _promotion(head, (f"already the champion, ledger line {head.sequence}: broadcast again",))


def _superseded(earlier: Entry, head: Entry | None) -> Promotion:
    now = f"; the champion is now {head.model_id[:12]}, line {head.sequence}" if head else ""
    reason = f"this run promoted the model before, ledger line {earlier.sequence}{now}"
    return Promotion(earlier.model_id, False, None, earlier.parent_id, (reason,), earlier.metrics)


def _refuse(
    systems: Systems,
    use_case: UseCase,
    candidate: Bundle,
    run_id: str,
    actor: str,
    evidence: Evidence,
    decision: Decision,
    head: Entry | None,
) -> Promotion:
    parent, now = head.model_id if head else None, _now()
    refusal = Refusal(
        model_id=candidate.model_id,
        time=now,
        run_id=run_id,
        actor=actor,
        champion=parent,
        reasons=decision.reasons,
        notes=evidence.notes,
        checks=decision.checks,
        metrics=evidence.metrics(),
    )
    keep(systems.models, use_case.name, refusal)
    reasons = (*decision.reasons, *evidence.notes)
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
    _announce_quality(systems, use_case, candidate, run_id, evidence)
    return Promotion(candidate.model_id, False, None, parent, reasons, evidence.metrics())


def _announce(systems: Systems, use_case: UseCase, entry: Entry) -> None:
    systems.announce(Topics(use_case.name).models, [announcement(use_case.name, entry)])


def _announce_quality(systems: Systems, use_case: UseCase, candidate: Bundle, run_id: str, evidence: Evidence) -> None:
    """The candidate's and the champion's quality on the same days, as the gate saw them."""
    judged = [("candidate", candidate.model_id, evidence.candidate)]
    if evidence.rival:
        judged.append(("champion", evidence.rival.model_id, evidence.rival.quality))
    now = _now()
    rows = [
        messages.model_quality(use_case.name, run_id, now, model_id, role, "test", evidence.days, figures)
        for role, model_id, figures in judged
    ]
    systems.announce(Topics(use_case.name).metrics, [(row["metric_id"], row) for row in rows])


def _now() -> str:
    return rfc3339(datetime.now(UTC))
