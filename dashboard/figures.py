"""How the figures of a use case's answers are called and written: AUC and shares, or D² and means. Knows no domain."""

from __future__ import annotations

from dashboard.specs import Column, Metric
from include.target import Metric as Figure
from include.target import Target

Format = dict[str, str]


def number(pattern: str) -> Format:
    """How a table writes a column: a pattern of d3-format."""
    return {"d3NumberFormat": pattern}


WHOLE = number(",d")
SUBJECTS = Metric("SUM(subjects)", "Subjects")


def heading(figure: Figure) -> str:
    """A figure's words as they begin a heading."""
    return figure.words[0].upper() + figure.words[1:]


def columns(target: Target) -> tuple[Column, ...]:
    """All figures as columns of a data set."""
    return tuple(Column(figure.name, description=figure.comment) for figure in target.metrics)


def names(target: Target) -> str:
    """The same as a list in SQL."""
    return ", ".join(figure.name for figure in target.metrics)


def metrics(target: Target) -> tuple[Metric, ...]:
    """All figures as metrics of a chart, with how many subjects they are of."""
    return (*(Metric(f"AVG({figure.name})", heading(figure)) for figure in target.metrics), SUBJECTS)


def formats(target: Target) -> dict[str, Format]:
    """How a table writes them."""
    return {heading(figure): number(",.4f") for figure in target.metrics} | {"Subjects": WHOLE}


def level(target: Target) -> str:
    """What the mean of answers or of labels is called."""
    return "mean" if target.kind == "count" else "share"


def level_format(target: Target, places: int = 1) -> str:
    """How it is written, with so many decimal places."""
    return f",.{places}f" if target.kind == "count" else f".{places}%"


def difference_format(target: Target) -> str:
    """How the difference of two levels is written."""
    return f"+{level_format(target)}"
