"""One line that says how a replay goes: redrawn in a terminal, repeated now and then in a log. Knows only figures."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TextIO

from local_stack.replay.engine import Counts
from local_stack.replay.watching import Answers, Borders

REDRAW_SECONDS, REPEAT_SECONDS = 0.5, 10.0
CLEAR = "\r\x1b[K"


@dataclass
class ProgressLine:
    """The line of one replay."""

    borders: Borders
    answers: Answers
    sources: list[str]
    out: TextIO = field(default_factory=lambda: sys.stdout)
    _began: float = field(default_factory=time.monotonic)
    _shown: float = 0.0

    def __call__(self, counts: Counts) -> None:
        """Show the line if it is time to."""
        terminal, now = self.out.isatty(), time.monotonic()
        if now - self._shown < (REDRAW_SECONDS if terminal else REPEAT_SECONDS):
            return
        self._shown = now
        text = self.text(counts, now - self._began)
        print(f"{CLEAR}{text}" if terminal else text, end="" if terminal else "\n", file=self.out, flush=True)

    def say(self, text: str) -> None:
        """A line of its own, above the one that is redrawn."""
        print(f"{CLEAR * self.out.isatty()}{text}", file=self.out, flush=True)

    def text(self, counts: Counts, seconds: float) -> str:
        """Simulated time, rates, how far the tiles and the answers lie behind, and how good the answers are."""
        skill, seconds = self.answers.live_skill(), max(seconds, 1.0)
        name = self.answers.target.skill.words
        return "  ".join(
            (
                "-" if counts.now is None else f"{counts.now:%Y-%m-%d %H:%M}",
                f"facts {counts.facts} ({counts.facts / seconds:.0f}/s)",
                f"queries {counts.queries} ({counts.queries / seconds:.0f}/s)",
                f"tiles {lag_words(counts.now, self.borders.slowest(self.sources))}",
                f"unanswered {self.answers.asked - self.answers.answered}",
                f"{name} -" if skill is None else f"{name} {skill:.4f}",
            )
        )


def lag_words(now: datetime | None, slowest: datetime | None) -> str:
    """How far the slowest source's tiles lie behind simulated time."""
    if now is None or slowest is None:
        return "not seen"
    behind = (now - slowest).total_seconds() / 60
    return "abreast" if behind <= 0 else f"{behind:.0f} min behind"
