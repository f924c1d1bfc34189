"""Runs that derive days again: one that has other days has another name."""

from datetime import date

from lambda_dl.operators.derive_days import runs_for


def test_a_span_that_has_grown_is_another_run() -> None:
    first, *later = (date(2013, 1, day) for day in (2, 4, 8))
    runs = [run for last in later for run in runs_for([(first, last)], "ingest_window", "by hand")]
    assert [run["conf"]["to"] for run in runs] == ["2013-01-04", "2013-01-08"]
    assert len({run["trigger_run_id"] for run in runs}) == 2
