"""What the landing sensor waits for, and what it does not."""

from datetime import UTC, date, datetime, timedelta

import pytest

from lambda_dl.sensors import landing
from lambda_dl.sensors.landing import LandingSensor, marker_keys, missing_keys, seconds_to_wait

NOON = datetime(2013, 1, 6, 12, tzinfo=UTC)
LIMIT = 13 * 3600.0


def test_every_source_and_day_has_a_marker() -> None:
    assert marker_keys("u", ["a", "b"], [date(2013, 1, 5)]) == [
        "u/a/ds=2013-01-05/_SUCCESS",
        "u/b/ds=2013-01-05/_SUCCESS",
    ]


def test_what_is_missing_is_named_in_order() -> None:
    assert missing_keys(["a", "b", "c"], {"b"}.__contains__) == ["a", "c"]


@pytest.mark.parametrize(
    ("days", "seconds"),
    [
        ([date(2013, 1, 5)], 3600.0),  # ended twelve hours ago, thirteen are given
        ([date(2013, 1, 4)], 0.0),
        ([date(2013, 1, 6)], 0.0),  # not over
        ([date(2013, 1, 4), date(2013, 1, 5)], 0.0),
    ],
)
def test_only_the_day_that_has_just_ended_is_waited_for(days: list[date], seconds: float) -> None:
    assert seconds_to_wait(days, NOON, LIMIT) == seconds


@pytest.mark.parametrize(("early", "seconds"), [(timedelta(seconds=3), LIMIT + 3), (timedelta(minutes=11), 0.0)])
def test_a_clock_that_is_a_little_behind_does_not_fail_the_run(early: timedelta, seconds: float) -> None:
    assert seconds_to_wait([date(2013, 1, 5)], datetime(2013, 1, 6, tzinfo=UTC) - early, LIMIT) == seconds


def test_the_wait_ends_with_the_limit() -> None:
    assert seconds_to_wait([date(2013, 1, 5)], NOON + timedelta(days=0, hours=2), LIMIT) == 0.0


class _Bucket:
    """Stands in for S3Hook: nothing has landed."""

    def __init__(self, aws_conn_id: str) -> None:
        assert aws_conn_id == "lambda_dl_s3"

    def check_for_key(self, key: str, bucket: str) -> bool:
        return False


class _Run:
    partition_key = "2013-01-05"


def test_a_past_day_fails_at_once_and_names_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.setattr(landing, "S3Hook", _Bucket)
    sensor = LandingSensor(task_id="wait", use_case="flight_delay", limit=60)
    with pytest.raises(AirflowFailException, match=r"s3://landing/flight_delay/\w+/ds=2013-01-05/_SUCCESS"):
        sensor.execute({"dag_run": _Run(), "params": {}})


def test_the_day_that_has_just_ended_is_deferred(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    yesterday = _Run()
    yesterday.partition_key = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
    monkeypatch.setattr(landing, "S3Hook", _Bucket)
    sensor = LandingSensor(task_id="wait", use_case="flight_delay", limit=2 * 86400)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute({"dag_run": yesterday, "params": {}})
    _, arguments = deferred.value.trigger.serialize()
    assert f"flight_delay/schedule/ds={yesterday.partition_key}/_SUCCESS" in arguments["bucket_key"]
    assert deferred.value.timeout is not None and deferred.value.timeout > timedelta(0)


def test_a_time_out_names_what_did_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.setattr(landing, "S3Hook", _Bucket)
    sensor = LandingSensor(task_id="wait", use_case="flight_delay", limit=60)
    with pytest.raises(AirflowFailException, match="ds=2013-01-05/_SUCCESS"):
        sensor.resume_execution("__fail__", {"error": "Trigger timeout"}, {"dag_run": _Run(), "params": {}})
