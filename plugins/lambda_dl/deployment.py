"""What a deployment may choose about the DAGs, from environment variables of the Airflow processes.

Read once, when a DAG file is parsed. Connections say where the systems are; these say what runs and when.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from include.use_cases import DEFAULT_USE_CASE

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Deployment:
    """Schedules are cron expressions in UTC; ``None`` switches one off. Spans of time are in seconds."""

    use_case: str
    ingest_cron: str
    last_day: date | None
    train_cron: str | None
    metrics_cron: str | None
    refresh_cron: str | None
    landing_limit: float
    announcement_limit: float
    receipt_limit: float
    training_limit: float

    @property
    def end_of_archive(self) -> datetime | None:
        """After this the nightly ingest is not scheduled; ``None`` while the upstream goes on."""
        if self.last_day is None:
            return None
        return datetime.combine(self.last_day + timedelta(days=1), time(), UTC)


def read_deployment(environment: Mapping[str, str] = os.environ) -> Deployment:
    """Read the ``LAMBDA_DL_*`` variables; raises ``ValueError`` for a malformed one."""

    def cron(name: str, default: str) -> str | None:
        return environment.get(f"LAMBDA_DL_{name}", default).strip() or None

    def seconds(name: str, default: float) -> float:
        return float(environment.get(f"LAMBDA_DL_{name}") or default)

    last_day = environment.get("LAMBDA_DL_LAST_DAY")
    return Deployment(
        use_case=environment.get("LAMBDA_DL_USE_CASE") or DEFAULT_USE_CASE,
        # The minute may change, the hour may not: a cron with an hour drops a backfill's last day.
        ingest_cron=cron("INGEST_CRON", "0 0 * * *") or "0 0 * * *",
        last_day=date.fromisoformat(last_day) if last_day else None,
        train_cron=cron("TRAIN_CRON", "30 2 * * *"),
        metrics_cron=cron("METRICS_CRON", "5 * * * *"),
        refresh_cron=cron("REFRESH_CRON", "*/10 * * * *"),
        landing_limit=seconds("LANDING_LIMIT_SECONDS", 6 * 3600),
        announcement_limit=seconds("ANNOUNCEMENT_LIMIT_SECONDS", 300),
        receipt_limit=seconds("RECEIPT_LIMIT_SECONDS", 300),
        training_limit=seconds("TRAINING_LIMIT_SECONDS", 4 * 3600),
    )


DEPLOYMENT = read_deployment()
USE_CASE = DEPLOYMENT.use_case
