"""Which days a DAG run is about: from its partition key or from its form. Pure; it knows no system.

Runs of partitioned DAGs have neither ``ds`` nor ``logical_date``; the partition key is the day. The CLI's
``dags trigger`` takes no partition key, so each day DAG also has a ``day`` parameter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any


class SpanError(ValueError):
    """A run that does not say which days it is about; the message says how to."""


@dataclass(frozen=True)
class Span:
    """The days from ``first`` to ``last``, both included, UTC."""

    first: date
    last: date

    def days(self) -> list[date]:
        """Every day, in order."""
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]

    def partition_keys(self) -> list[str]:
        """Every day as a partition key, in order."""
        return [day.isoformat() for day in self.days()]


def _parse(text: Any, what: str) -> date:
    try:
        return date.fromisoformat(str(text))
    except ValueError as error:
        raise SpanError(f"{what} is {text!r}, which is no day of the form YYYY-MM-DD") from error


def span_of(partition_key: str | None, params: Mapping[str, Any]) -> Span:
    """The span of a run by its partition key, else by ``day``, else by ``from`` and ``to``; raises ``SpanError``."""
    day = partition_key or params.get("day")
    if day:
        return Span(_parse(day, "day"), _parse(day, "day"))
    first, last = params.get("from"), params.get("to")
    if not first or not last:
        raise SpanError("this run names no day: trigger it with a partition key, or with its parameters filled in")
    span = Span(_parse(first, "from"), _parse(last, "to"))
    if span.last < span.first:
        raise SpanError(f"from {span.first} lies after to {span.last}")
    return span


def span_of_run(context: Mapping[str, Any]) -> Span:
    """``span_of`` over a task's context."""
    return span_of(context["dag_run"].partition_key, context["params"])


def first_day(dag_run: Any, params: Mapping[str, Any]) -> str:
    """Template macro: the run's first day."""
    return span_of(dag_run.partition_key, params).first.isoformat()


def last_day(dag_run: Any, params: Mapping[str, Any]) -> str:
    """Template macro: the run's last day."""
    return span_of(dag_run.partition_key, params).last.isoformat()


MACROS = {"first_day": first_day, "last_day": last_day}
