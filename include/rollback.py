"""Rollback: an earlier champion becomes champion again, by the ledger's next line and a broadcast.

Nothing is trained and nothing is judged again: a person has decided, or facts were withdrawn. What is checked is that
the model can be served, and that nobody else wrote to the ledger meanwhile. It does not know Airflow, nor who serves
the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from include.broadcast import Announce, rfc3339
from include.bundle.bundle import SHORTEST_ID, BundleError, load_bundle
from include.bundle.store import ObjectMissing, ObjectStore
from include.champion import lineage_of
from include.ledger import Entry, LedgerConflict, announcement, append, read_ledger
from include.locations import Topics
from include.retraction import Touched, words_of
from include.use_case import UseCase

#: Logs and the dashboard show so many first characters of an id.
SHOWN = 12
ATTEMPTS = 10


class RollbackRefused(ValueError):
    """Nothing was rolled back; the message says why and what to do. Trying again gives the same answer."""


@dataclass(frozen=True)
class Request:
    """Who wants which model back and why. ``model_id`` may be its first characters; ``None``: the one before."""

    model_id: str | None
    reason: str
    actor: str
    run_id: str


@dataclass(frozen=True)
class Rollback:
    """What came of it. ``sequence`` is the ledger line to be confirmed; ``None`` if a later line holds by now. ``time``
    is the line's (RFC 3339, UTC)."""

    model_id: str
    sequence: int | None
    parent_id: str | None
    reasons: tuple[str, ...]
    time: str = ""


def roll_back(
    models: ObjectStore, announce: Announce, use_case: UseCase, touched: Touched, request: Request
) -> Rollback:
    """Append a ``rolled_back`` line and broadcast it. The same run again broadcasts again and appends nothing.

    ``touched``: the withdrawn facts that a model of some lineage was trained on. Raises ``RollbackRefused``: no such
    earlier champion, one that was trained on withdrawn facts or cannot be served, or somebody was faster.
    """
    ledger = read_ledger(models, use_case.name)
    done = [entry for entry in ledger if entry.run_id == request.run_id and entry.event == "rolled_back"]
    if done:
        return _again(announce, use_case, done[-1], ledger[-1])
    former = choose(ledger, request.model_id)
    _check_servable(models, use_case, former.model_id)
    if hit := touched(lineage_of(models, use_case.name, former.model_id)):
        raise RollbackRefused(f"{former.model_id[:SHOWN]} was trained on withdrawn facts: {words_of(hit)}")
    try:
        entry = append(models, use_case.name, _entry(former, ledger[-1], request))
    except LedgerConflict as conflict:
        raise RollbackRefused(overtaken(conflict.head)) from conflict
    _broadcast(announce, use_case, entry)
    return Rollback(entry.model_id, entry.sequence, entry.parent_id, (entry.reason,), entry.time)


def demote(models: ObjectStore, announce: Announce, use_case: UseCase, touched: Touched, request: Request) -> Rollback:
    """Take the champion back if it was trained on withdrawn facts, for the best earlier one that was not.

    Every champion had beaten the one that it replaced: the best is the nearest on the way back. If somebody writes to
    the ledger meanwhile, it is decided again. Without a need to, nothing is appended (``sequence`` None). Raises
    ``RollbackRefused`` if no earlier champion is untouched.
    """
    for _ in range(ATTEMPTS):
        ledger = read_ledger(models, use_case.name)
        done = [entry for entry in ledger if entry.run_id == request.run_id and entry.event == "rolled_back"]
        if done:
            return _again(announce, use_case, done[-1], ledger[-1])
        if not ledger:
            return Rollback("", None, None, ("there is no champion yet",))
        head = ledger[-1]
        hit = touched(lineage_of(models, use_case.name, head.model_id))
        if not hit:
            reason = f"champion {head.model_id[:SHOWN]} was not trained on what is withdrawn: it stays"
            return Rollback(head.model_id, None, head.parent_id, (reason,))
        former = untouched(models, use_case, ledger, touched)
        reason = f"{request.reason}; {head.model_id[:SHOWN]} was trained on {words_of(hit)}"
        try:
            entry = append(models, use_case.name, _entry(former, head, replace(request, reason=reason)))
        except LedgerConflict:
            continue
        _broadcast(announce, use_case, entry)
        return Rollback(entry.model_id, entry.sequence, entry.parent_id, (entry.reason,), entry.time)
    raise RuntimeError(f"the ledger of {use_case.name!r} moved on {ATTEMPTS} times while deciding: try again")


def untouched(models: ObjectStore, use_case: UseCase, ledger: Sequence[Entry], touched: Touched) -> Entry:
    """The line of the nearest champion on the way back that can be served and holds nothing withdrawn."""
    passed: list[str] = []
    model_id = before(ledger, ledger[-1].model_id)
    while model_id is not None and model_id not in passed:
        passed.append(model_id)
        if not touched(lineage_of(models, use_case.name, model_id)) and _servable(models, use_case, model_id):
            return next(entry for entry in reversed(ledger) if entry.model_id == model_id)
        model_id = before(ledger, model_id)
    raise RollbackRefused(
        f"champion {ledger[-1].model_id[:SHOWN]} was trained on withdrawn facts, and no earlier champion is untouched: "
        "it stays until another is promoted. Train on the days as they are derived now (train_model); the gate judges "
        "the new candidate against the base rate, since this champion does not count as a rival"
    )


def choose(ledger: Sequence[Entry], asked: str | None) -> Entry:
    """The line that last made the wanted model champion; ``asked`` is an id or its beginning, ``None`` the one before.

    The one before is the champion that the present one replaced when it was promoted: asked again and again, it goes
    further back and never returns to a model that was rolled back from. Raises ``RollbackRefused``.
    """
    if not ledger:
        raise RollbackRefused("there is no champion yet, so there is nothing to roll back")
    head = ledger[-1]
    wanted = asked.strip() if asked else before(ledger, head.model_id)
    if wanted is None:
        raise RollbackRefused(f"{head.model_id[:SHOWN]} is the first champion: there is none before it")
    if len(wanted) < SHORTEST_ID:
        raise RollbackRefused(f"{wanted!r} is too short: give at least {SHORTEST_ID} characters of the model id")
    found = {entry.model_id: entry for entry in ledger if entry.model_id.startswith(wanted)}
    if not found:
        known = ", ".join(dict.fromkeys(entry.model_id[:SHOWN] for entry in reversed(ledger)))
        raise RollbackRefused(f"{wanted!r} was never champion; those who were, newest first: {known}")
    if len(found) > 1:
        raise RollbackRefused(f"{wanted!r} fits {len(found)} champions: give more of the model id")
    ((model_id, entry),) = found.items()
    if model_id == head.model_id:
        raise RollbackRefused(f"{model_id[:SHOWN]} is the champion already, by ledger line {head.sequence}")
    return entry


def before(ledger: Sequence[Entry], model_id: str) -> str | None:
    """The champion that a model replaced when it was last promoted; ``None`` if it was the first."""
    promotions = [entry for entry in ledger if entry.model_id == model_id and entry.event == "promoted"]
    return promotions[-1].parent_id if promotions else None


def overtaken(head: Entry) -> str:
    """What the slower of two writers is told: who was faster, and with what."""
    return (
        f"nothing was rolled back: meanwhile {head.actor} wrote ledger line {head.sequence}, "
        f"{head.event} {head.model_id[:SHOWN]} ({head.reason}). If the rollback is still wanted, trigger it again"
    )


def _check_servable(models: ObjectStore, use_case: UseCase, model_id: str) -> None:
    """Verify the bundle as the speed service will: better refused here than there."""
    try:
        load_bundle(models, use_case.name, model_id, use_case.features)
    except (BundleError, ObjectMissing) as error:
        raise RollbackRefused(f"{model_id[:SHOWN]} cannot be served: {error}") from error


def _servable(models: ObjectStore, use_case: UseCase, model_id: str) -> bool:
    try:
        _check_servable(models, use_case, model_id)
    except RollbackRefused:
        return False
    return True


def _entry(former: Entry, head: Entry, request: Request) -> Entry:
    return Entry(
        sequence=head.sequence + 1,
        time=rfc3339(datetime.now(UTC)),
        event="rolled_back",
        model_id=former.model_id,
        parent_id=head.model_id,
        actor=request.actor,
        reason=request.reason,
        run_id=request.run_id,
        metrics=former.metrics,
    )


def _again(announce: Announce, use_case: UseCase, done: Entry, head: Entry) -> Rollback:
    if done.sequence != head.sequence:
        reason = f"this run wrote ledger line {done.sequence} before; line {head.sequence} holds now"
        return Rollback(done.model_id, None, done.parent_id, (reason,))
    _broadcast(announce, use_case, done)
    reason = f"ledger line {done.sequence}: broadcast again"
    return Rollback(done.model_id, done.sequence, done.parent_id, (reason,), done.time)


def _broadcast(announce: Announce, use_case: UseCase, entry: Entry) -> None:
    announce(Topics(use_case.name).models, [announcement(use_case.name, entry)])
