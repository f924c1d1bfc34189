"""A replay's figures as tables and lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from local_stack.replay.books import Book
from local_stack.replay.session import Outcome
from local_stack.replay.verify import QUANTILES, Comparison

#: Column -> the outcomes that it adds up; a book's own words tell each of them.
COLUMNS = {
    "counted or answered": ("counted", "predictions"),
    "late": ("late",),
    "rejected": ("rejected", "conflicting"),
    "duplicate": ("duplicate",),
}


def books_table(books: Iterable[Book]) -> Table:
    """One line a book: what came in, and where it went."""
    table = Table(title="Books of the replay (from the topics)", title_justify="left")
    for heading in ("topic", "in", *COLUMNS, "balances"):
        table.add_column(heading, justify="left" if heading in ("topic", "balances") else "right")
    for book in books:
        sums = (sum(book.parts.get(name, 0) for name in names) for names in COLUMNS.values())
        table.add_row(book.name, str(book.came), *map(str, sums), "yes" if book.balances else "[bold red]no")
    return table


def summary_line(outcome: Outcome) -> str:
    """Rates and quality of a replay in one line."""
    facts, queries, seconds = outcome.counts.facts, outcome.counts.queries, outcome.seconds
    live = skill_words(f"live {outcome.skill.words}", outcome.live)
    known = sum(identity[0] in outcome.outcomes for identity in outcome.answers)
    return (
        f"{facts} facts and {queries} queries in {seconds:.0f} s ({facts / seconds:.0f} and {queries / seconds:.0f} a "
        f"second); {live} on {known} answers with a known outcome, {outcome.degraded} degraded"
    )


def freshness_table(freshness: Mapping[str, tuple[int, Sequence[float]]]) -> Table:
    """Minutes that ``as_of`` lay behind the prediction's minute."""
    table = Table(title="Freshness: minutes that as_of lay behind", title_justify="left")
    for heading in ("source", "saw nothing", *(f"p{100 * q:g}" for q in QUANTILES)):
        table.add_column(heading, justify="left" if heading == "source" else "right")
    for source, (blind, values) in freshness.items():
        table.add_row(source, str(blind), *(f"{value:.0f}" for value in values))
    return table


def comparison_lines(
    parity: Iterable[tuple[Any, ...]], live: Iterable[tuple[Any, ...]], comparison: Comparison
) -> list[str]:
    """What the batch layer says: parity, live quality by day, and live beside batch."""
    name = comparison.skill.words
    lines = [f"{ds} {dimension}: {value:.6f} of the rows" for ds, dimension, value in parity]
    lines += [
        f"{ds} live quality (Hive): {skill_words(name, skill)} on {rows} labelled answers" for ds, rows, skill in live
    ]
    lines.append(f"{name} on {comparison.subjects} subjects: {compared_words(comparison)}")
    return lines


def skill_words(name: str, skill: float | None) -> str:
    """A skill, or why there is none."""
    return f"no {name} (all outcomes alike)" if skill is None else f"{name} {skill:.4f}"


def compared_words(comparison: Comparison) -> str:
    """Live, batch and their difference, or why there is none."""
    if not comparison.subjects:
        return "no answered subject has features and a closed label in the batch layer"
    if comparison.live is None or comparison.batch is None:
        return "none, all outcomes are alike"
    difference = comparison.live - comparison.batch
    return f"live {comparison.live:.4f}, batch {comparison.batch:.4f}, difference {difference:+.4f}"
