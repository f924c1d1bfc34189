"""Somebody is told: an alert goes to the log, to the table ``alerts``, and to a webhook if there is one.

The same alert (kind, subject and day) is told once: the table remembers, after it is told, so that who is killed in
between tells it again rather than never. A table or a webhook that cannot be reached
keeps nothing from the other ways, and telling never fails. The webhook's address may hold a secret, so neither it nor
an error that could quote it is ever logged. It does not know what is watched (see ``freshness`` and the plugins).
"""

import json
import logging
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from include import lake
from include.broadcast import rfc3339
from include.tables import ALERTS

log = logging.getLogger(__name__)

#: Where alerts are posted to, as JSON; empty or unset: nowhere.
WEBHOOK = "LAMBDA_DL_ALERT_WEBHOOK"
WEBHOOK_SECONDS = 10.0
LONGEST_MESSAGE = 2000
Kind = Literal["day_late", "quality", "refresh_stale", "task_failed", "deadline_missed"]


@dataclass(frozen=True)
class Alert:
    """Something that somebody should know. ``ds`` is the UTC day it is about; with ``subject`` it makes it the same."""

    kind: Kind
    subject: str
    message: str
    ds: str
    run_id: str = ""

    def row(self, use_case: str, now: datetime) -> dict[str, Any]:
        """As a row of ``alerts``; its ``ds`` is the day on which it was told, so that the newest are found."""
        return {
            "alert_id": f"{self.kind}/{use_case}/{self.subject}/{self.ds}",
            "time": now,
            "kind": self.kind,
            "subject": self.subject,
            "message": self.message[:LONGEST_MESSAGE],
            "run_id": self.run_id,
            "ds": now.date().isoformat(),
        }


def tell(use_case: str, alert: Alert, environment: Mapping[str, str], now: datetime | None = None) -> bool:
    """Tell an alert unless it was told before; returns whether it was new. Never raises."""
    row = alert.row(use_case, now or datetime.now(UTC))
    if _is_known(use_case, row):
        log.info("told before: %s", row["alert_id"])
        return False
    log.error("ALERT %s %s: %s", alert.kind, alert.subject, row["message"])
    if address := environment.get(WEBHOOK):
        post(address, {**row, "use_case": use_case, "time": rfc3339(row["time"])})
    _remember(use_case, row)
    return True


def _is_known(use_case: str, row: Mapping[str, Any]) -> bool:
    """Whether the table has the alert. One that cannot be read has not: better told twice."""
    try:
        return lake.has_row(use_case, ALERTS, row)
    except Exception as error:  # whatever keeps the lake from answering must not keep anybody from being told
        log.warning("%s could not be read (%s)", ALERTS.name, type(error).__name__)
        return False


def _remember(use_case: str, row: Mapping[str, Any]) -> None:
    """Put the alert into the table, if it can be written."""
    try:
        lake.merge_rows(use_case, ALERTS, [row])
    except Exception as error:  # it is told already, and telling never fails
        log.warning("the alert could not be written to %s (%s)", ALERTS.name, type(error).__name__)


def post(address: str, document: Mapping[str, Any]) -> bool:
    """POST a JSON document; returns whether the other side took it. Logs the host alone."""
    try:
        host = urlsplit(address).hostname
        if urlsplit(address).scheme not in ("http", "https"):
            log.warning("setting %s is no http or https address: nobody was told by it", WEBHOOK)
            return False
        request = urllib.request.Request(
            address, json.dumps(document).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=WEBHOOK_SECONDS) as answer:
            log.info("the webhook at %s answered %d", host, answer.status)
    except urllib.error.HTTPError as error:
        log.warning("the webhook at %s answered %d", host, error.code)
        return False
    except (OSError, ValueError) as error:  # their words may quote the address
        log.warning("the webhook could not be reached (%s)", type(error).__name__)
        return False
    return True
