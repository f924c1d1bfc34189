"""The watch tells of days that no run has ingested."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include import alerts, book, freshness
from include.alerts import Alert
from include.use_case import load_use_case
from lambda_dl import tasks
from lambda_dl.cases import FIRST

CONNECTIONS = {
    "S3": {"conn_type": "aws", "login": "k", "password": "p", "extra": {"endpoint_url": "http://127.0.0.1:9"}},
    "MYSQL": {"conn_type": "mysql", "host": "h", "port": 9, "login": "l", "password": "p", "schema": "s"},
}


def test_days_that_an_outage_has_left_out_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, fields in CONNECTIONS.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_LAMBDA_DL_{name}", json.dumps(fields))
    start, told = load_use_case(FIRST.name).history_start, list[Alert]()
    closed = {(start + timedelta(days=day)).isoformat() for day in (0, 1, 4)}
    times = dict.fromkeys(closed, datetime.now(UTC) - timedelta(days=1))

    def tell(use_case: str, alert: Alert, environment: Any, now: datetime | None = None) -> bool:
        told.append(alert)
        return True

    monkeypatch.setattr(tasks, "case_now", lambda: FIRST)
    monkeypatch.setattr(book, "closed_since", lambda use_case, stage: times if stage == book.INGEST else {})
    monkeypatch.setattr(freshness, "last_refresh", lambda settings: None)
    monkeypatch.setattr(freshness, "quality_rows", lambda use_case, days: [])
    monkeypatch.setattr(alerts, "tell", tell)
    tasks.watch_freshness.function()
    gap = ("ingest_raw.gap", (start + timedelta(days=3)).isoformat())
    assert gap in {(alert.subject, alert.ds) for alert in told}
