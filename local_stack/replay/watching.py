"""What comes back while a replay runs: how far each source's tiles have come, and the answers, judged as they come.

Filled by threads that follow topics, asked by the replay. It knows no Kafka, only messages, and of the predictor only
its metrics; times are aware, UTC.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from include.streaming.messages import Progress, decode_tiles_message
from include.target import Target
from include.training.metrics import skill_if_any
from local_stack.replay.topics import Read

WAIT_SECONDS = 1.0
PREDICTOR_POLL_SECONDS = 0.02
PREDICTOR_BORDER = "stream_border_timestamp_seconds"
#: A subject's id and the time it was asked about.
Identity = tuple[str, datetime]


class TilesBehind(RuntimeError):
    """The tiles do not follow; the message names the sources and how far each has come."""


class Borders:
    """Per source the minute before which tiles may be seen, as the tiles topic last said."""

    def __init__(self, known: Mapping[str, datetime]) -> None:
        self._borders = dict(known)
        self._changed = threading.Condition()

    def note(self, read: Read) -> None:
        """Take a message of the tiles topic; only reports of progress matter."""
        progress = progress_of(read)
        if progress is not None:
            with self._changed:
                self._borders[progress.source] = datetime.fromisoformat(progress.border)
                self._changed.notify_all()

    def behind(self, minute: datetime, sources: Iterable[str]) -> dict[str, datetime | None]:
        """The sources whose tiles have not come to ``minute``, and how far they have come."""
        return _behind(self._borders, minute, sources)

    def slowest(self, sources: Iterable[str]) -> datetime | None:
        """The earliest border; None while a source has none."""
        borders = [self._borders.get(source) for source in sources]
        return None if None in borders or not borders else min(border for border in borders if border is not None)

    def wait_for(
        self, minute: datetime, sources: Iterable[str], seconds: float, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """Wait until every source's tiles have come to ``minute``; raises ``TilesBehind`` after ``seconds``."""
        end = time.monotonic() + seconds
        names = list(sources)
        while behind := self.behind(minute, names):
            if time.monotonic() > end:
                raise TilesBehind(_told(behind, minute, seconds))
            meanwhile()
            with self._changed:
                # Asked again under the lock, so that a report between the question and the wait is not slept through.
                if self.behind(minute, names):
                    self._changed.wait(min(WAIT_SECONDS, max(end - time.monotonic(), 0.0)))


class PredictorBorders:
    """The borders of the tiles that the predictor holds, and answers with, as its metrics say.

    Of several, those that answer count: one that died is not waited for, since another takes over its queries.
    """

    def __init__(self, *clients: httpx.Client) -> None:
        self._clients = clients

    def behind(self, minute: datetime, sources: Iterable[str]) -> dict[str, datetime | None]:
        """The sources of which a predictor holds less than what came before ``minute``; all while none is there."""
        return _behind(self._borders(), minute, sources)

    def wait_for(self, minute: datetime, sources: Iterable[str], seconds: float) -> None:
        """Wait until the predictor holds what came before ``minute``; raises ``TilesBehind`` after ``seconds``."""
        end = time.monotonic() + seconds
        names = list(sources)
        while behind := self.behind(minute, names):
            if time.monotonic() > end:
                raise TilesBehind(f"in the predictor {_told(behind, minute, seconds)}")
            time.sleep(PREDICTOR_POLL_SECONDS)

    def _borders(self) -> dict[str, datetime]:
        told = [borders for client in self._clients if (borders := self._borders_of(client)) is not None]
        known = set.intersection(*map(set, told)) if told else set()
        return {source: min(borders[source] for borders in told) for source in known}

    @staticmethod
    def _borders_of(client: httpx.Client) -> dict[str, datetime] | None:
        try:
            text = client.get("/metrics").raise_for_status().text
        except httpx.HTTPError:
            return None
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {
            sample.labels["source"]: datetime.fromtimestamp(sample.value, UTC)
            for sample in samples
            if sample.name == PREDICTOR_BORDER
        }


def _behind(borders: Mapping[str, datetime], minute: datetime, sources: Iterable[str]) -> dict[str, datetime | None]:
    return {s: b for s in sources if (b := borders.get(s)) is None or b < minute}


def _told(behind: Mapping[str, datetime | None], minute: datetime, seconds: float) -> str:
    borders = {name: "nowhere yet" if border is None else f"to {border:%H:%M}" for name, border in behind.items()}
    come = ", ".join(f"{name} have come {border}" for name, border in sorted(borders.items()))
    return f"the tiles of {come}, not to {minute:%Y-%m-%d %H:%M}, within {seconds:.0f} s"


def progress_of(read: Read) -> Progress | None:
    """The report of progress that a message of the tiles topic is, or None."""
    if read.value is None or not read.key.startswith("progress|"):
        return None
    try:
        message = decode_tiles_message(read.value)
    except msgspec.DecodeError:
        return None
    return message if isinstance(message, Progress) else None


class Answers:
    """The answers to what was asked, joined with what became of each subject (``outcomes``: id -> 0 or 1)."""

    def __init__(self, outcomes: Mapping[str, int], target: Target) -> None:
        self._outcomes = outcomes
        self.target = target
        self._asked: set[Identity] = set()
        self._given: dict[Identity, float] = {}
        self._changed = threading.Condition()
        self.degraded = 0

    def ask(self, identities: Iterable[Identity]) -> None:
        """Say what is asked; answers to anything else are other people's."""
        with self._changed:
            self._asked.update(identities)

    def note(self, read: Read) -> None:
        """Take a message of the predictions topic."""
        message = answer_of(read.value, self.target)
        if message is not None:
            at = datetime.fromisoformat(message["prediction_time"])
            self.give((message["id"], at), float(message[self.target.answer]), bool(message.get("degraded")))

    def give(self, identity: Identity, answer: float, degraded: bool) -> None:
        """Take an answer; the first one to an identity counts."""
        with self._changed:
            if identity in self._asked and identity not in self._given:
                self._given[identity] = answer
                self.degraded += degraded
                self._changed.notify_all()

    @property
    def asked(self) -> int:
        """How many were asked."""
        return len(self._asked)

    @property
    def answered(self) -> int:
        """How many of them were answered."""
        return len(self._given)

    def given(self) -> dict[Identity, float]:
        """The answers so far."""
        with self._changed:
            return dict(self._given)

    def wait_for_all(self, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> bool:
        """Wait until everything asked is answered; whether it is, after at most ``seconds``."""
        end = time.monotonic() + seconds
        while self.answered < self.asked and time.monotonic() < end:
            meanwhile()
            with self._changed:
                if self.answered < self.asked:
                    self._changed.wait(WAIT_SECONDS)
        return self.answered == self.asked

    def live_skill(self) -> float | None:
        """AUC or D² of the answers whose outcome is known; None where all outcomes are alike."""
        return joined_skill(self.target, {identity[0]: p for identity, p in self.given().items()}, self._outcomes)


def answer_of(value: bytes | None, target: Target) -> dict[str, Any] | None:
    """A prediction as the predictions topic carries it, or None if it is none."""
    try:
        message = json.loads(value or b"")
    except ValueError:
        return None
    fits = isinstance(message, dict) and {"id", "prediction_time", target.answer} <= message.keys()
    return message if fits else None


def joined_skill(target: Target, answers: Mapping[str, float], outcomes: Mapping[str, int]) -> float | None:
    """AUC or D² over the subjects that both know; None where all outcomes are alike."""
    both = [subject for subject in answers if subject in outcomes]
    labels = np.array([outcomes[subject] for subject in both])
    return skill_if_any(target, labels, np.array([answers[subject] for subject in both]))
