"""Which days a night trains on: those of poor data are left out and told, unless a person has named the days."""

from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include import alerts
from include.alerts import Alert
from lambda_dl import tasks
from lambda_dl.cases import FIRST

CLOSED = [f"2013-01-{day:02}" for day in range(1, 11)]
LAST = CLOSED[-1]


class Scorecard:
    """The days with closed labels, what was measured of them, and what somebody was told."""

    def __init__(self) -> None:
        self.closed = set(CLOSED)
        self.measured: list[dict[str, Any]] = []
        self.told: list[Alert] = []

    def poor(self, *days: str) -> None:
        when = datetime(2013, 2, 1, tzinfo=UTC)
        named = {"source": "departures", "dimension": "validity", "value": 0.5, "time": when}
        self.measured += [{"ds": ds, **named} for ds in days]

    def tell(self, use_case: str, alert: Alert, environment: Any, now: datetime | None = None) -> bool:
        self.told.append(alert)
        return True


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Scorecard:
    made = Scorecard()
    monkeypatch.setattr(tasks, "case_now", lambda: FIRST)
    monkeypatch.setattr(tasks, "_closed", lambda stage: made.closed)
    monkeypatch.setattr(tasks, "_measured", lambda days: [row for row in made.measured if row["ds"] in days])
    monkeypatch.setattr(alerts, "tell", made.tell)
    key = '{"conn_type": "aws", "login": "k", "password": "p", "extra": {"endpoint_url": "http://127.0.0.1:9"}}'
    monkeypatch.setenv("AIRFLOW_CONN_LAMBDA_DL_S3", key)
    return made


def quality(window: dict[str, str], **params: Any) -> int:
    return int(tasks.require_quality.function(window, params=params))


def test_a_night_leaves_out_days_of_poor_data_and_tells_somebody(
    card: Scorecard, caplog: pytest.LogCaptureFixture
) -> None:
    card.poor("2013-01-07", "2013-01-03")
    window = tasks._window({})
    assert window == {"from": CLOSED[0], "to": LAST, "without": "2013-01-03,2013-01-07"}
    assert "departures 2013-01-03: validity is 0.5000, below the threshold 0.95" in caplog.text
    (alert,) = card.told
    assert (alert.kind, alert.subject, alert.ds) == ("quality", "train_model", "2013-01-07")
    assert alert.message.startswith("2 days left out of training: departures 2013-01-07: validity")
    assert quality(window) == 0, "what is left out is not asked about again"


def test_a_night_of_good_days_leaves_none_out(card: Scorecard) -> None:
    assert tasks._window({}) == {"from": CLOSED[0], "to": LAST, "without": ""}
    assert card.told == []


@pytest.mark.parametrize("chosen", [{"from": CLOSED[0], "to": LAST}, {"from": CLOSED[0]}, {"to": LAST}])
def test_days_that_a_person_has_named_are_refused_with_poor_data(card: Scorecard, chosen: dict[str, str]) -> None:
    card.poor("2013-01-03")
    window = tasks._window(chosen)
    assert window == {"from": CLOSED[0], "to": LAST}
    with pytest.raises(AirflowFailException, match="departures 2013-01-03.*Choose other days; to train all the same"):
        quality(window, **chosen)
    assert quality(window, **chosen, accept_quality=True) == 1


def test_a_person_who_accepts_poor_data_trains_on_it(card: Scorecard) -> None:
    card.poor("2013-01-03")
    window = tasks._window({"accept_quality": True})
    assert window == {"from": CLOSED[0], "to": LAST}
    assert quality(window, accept_quality=True) == 1


def test_a_day_that_falls_short_once_the_days_are_chosen_stops_this_run_alone(card: Scorecard) -> None:
    window = tasks._window({})
    card.poor("2013-01-03")
    with pytest.raises(AirflowFailException, match="departures 2013-01-03.*A new run leaves them out"):
        quality(window)
    assert quality(tasks._window({})) == 0


@pytest.mark.parametrize("poor", [CLOSED, CLOSED[:6]])
def test_a_night_with_too_few_good_days_is_refused(card: Scorecard, poor: list[str]) -> None:
    card.poor(*poor)
    with pytest.raises(AirflowFailException, match=rf"too few remain: only {10 - len(poor)} of 10 days"):
        tasks._window({})
    assert card.told == []


def test_a_poor_day_without_closed_labels_is_left_out_too(card: Scorecard) -> None:
    """Its labels may close before the training reads the book."""
    card.closed.remove("2013-01-03")
    card.poor("2013-01-03")
    assert tasks._window({})["without"] == "2013-01-03"


def test_without_any_closed_day_there_is_nothing_to_train_on(card: Scorecard) -> None:
    card.closed.clear()
    with pytest.raises(AirflowSkipException):
        tasks._window({})
