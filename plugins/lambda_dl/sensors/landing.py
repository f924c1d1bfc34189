"""Waits for a day's landing files, source by source, and says which are missing.

A source's day is complete when its ``_SUCCESS`` marker lies there. A day that is long past is not waited for: what
is missing then will not come by itself. The waiting itself is the Amazon provider's S3 trigger, in the triggerer.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.triggers.s3 import S3KeyTrigger
from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferralTimeout

from include.locations import LANDING_BUCKET, SUCCESS_MARKER, landing_prefix
from lambda_dl.connections import S3
from lambda_dl.sensors.batch_event import CLOCKS_DIFFER
from lambda_dl.span import span_of_run


def marker_keys(use_case: str, sources: Sequence[str], days: Sequence[date]) -> list[str]:
    """The keys that must exist before the days can be ingested."""
    return [landing_prefix(use_case, source, day) + SUCCESS_MARKER for day in days for source in sources]


def missing_keys(expected: Sequence[str], exists: Callable[[str], bool]) -> list[str]:
    """Those of the expected keys that do not exist, in order."""
    return [key for key in expected if not exists(key)]


def seconds_to_wait(days: Sequence[date], now: datetime, limit: float) -> float:
    """How much longer files of these days may come: the day that has just ended has ``limit`` s from its end.

    Any other day is not waited for, one that is not over yet neither: 0. The scheduler's clock started the run: by a
    worker's, which may be a little behind, the day ends in a moment.
    """
    ended = datetime.combine(days[-1], time(), UTC) + timedelta(days=1)
    since = now - ended
    if len(set(days)) > 1 or not -CLOCKS_DIFFER <= since < timedelta(days=1):
        return 0.0
    return max(0.0, limit - since.total_seconds())


class LandingSensor(BaseSensorOperator):
    """Succeeds when every source's files of the run's days are complete; ``limit`` is in seconds after the day's end.

    Raises ``AirflowFailException``, naming the missing keys, for a past day at once and for the last one when the
    limit is over: both need a person or the upstream, not a retry.
    """

    def __init__(self, *, use_case: str, limit: float, poke_interval: float = 15, **kwargs: Any) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.use_case = use_case
        self.limit = limit

    def execute(self, context: Any) -> list[str]:
        """Look once; wait for what may still come."""
        days = span_of_run(context).days()
        expected = self._expected(days)
        missing = self._missing(expected)
        if missing:
            self._wait(missing, seconds_to_wait(days, datetime.now(UTC), self.limit))
        self.log.info("All %d source days have landed: %s to %s", len(expected), days[0], days[-1])
        return expected

    def _expected(self, days: Sequence[date]) -> list[str]:
        from include.use_case import load_use_case

        return marker_keys(self.use_case, [source.name for source in load_use_case(self.use_case).sources], days)

    def _missing(self, expected: Sequence[str]) -> list[str]:
        hook = S3Hook(aws_conn_id=S3)
        return missing_keys(expected, lambda key: bool(hook.check_for_key(key, LANDING_BUCKET)))

    def _wait(self, missing: list[str], seconds: float) -> None:
        if seconds <= 0:
            raise AirflowFailException(_complaint(missing, "and nothing is waited for"))
        self.log.info("Waiting up to %.0f s for %s", seconds, ", ".join(missing))
        trigger = S3KeyTrigger(LANDING_BUCKET, missing, aws_conn_id=S3, poke_interval=self.poke_interval)
        kwargs = {"missing": missing}
        self.defer(trigger=trigger, method_name="landed", kwargs=kwargs, timeout=timedelta(seconds=seconds))

    def landed(self, context: Any, event: dict[str, Any] | None = None, missing: Sequence[str] = ()) -> list[str]:
        """The trigger has seen the missing keys, or broke down."""
        if event and event.get("status") == "error":
            raise AirflowException(f"looking for landing files failed: {event.get('message')}")
        self.log.info("Landed: %s", ", ".join(missing))
        return list(missing)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """As the base class, but a time-out names the keys that did not come."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowException as error:
            if not isinstance(error.__cause__, TaskDeferralTimeout):
                raise
            still = self._missing(self._expected(span_of_run(context).days()))
            raise AirflowFailException(_complaint(still, f"{self.limit:.0f} s after the day's end")) from error


def _complaint(missing: Sequence[str], when: str) -> str:
    keys = "\n  ".join(f"s3://{LANDING_BUCKET}/{key}" for key in missing)
    return f"{len(missing)} landing markers are missing {when}:\n  {keys}"
