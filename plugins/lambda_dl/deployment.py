"""What a deployment may choose about the DAGs, from environment variables of the Airflow processes.

Read once, when a DAG file is parsed. Connections say where the systems are; these say what runs and when.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from include.use_cases import SEPARATOR, read_use_cases

REPOSITORY = Path(__file__).resolve().parents[2]

#: Seconds from being queued to the end that a run may take before somebody is told.
DEADLINES: Mapping[str, float] = {
    "ingest_raw": 8 * 3600,
    "ingest_window": 12 * 3600,
    "train_model": 6 * 3600,
    "refresh_serving": 1800,
    "others": 2 * 3600,
}


@dataclass(frozen=True)
class Deployment:
    """Schedules are cron expressions in UTC; ``None`` switches one off. Spans of time are in seconds."""

    use_cases: tuple[str, ...]
    ingest_cron: str
    last_day: date | None
    train_cron: str | None
    metrics_cron: str | None
    refresh_cron: str | None
    landing_limit: float
    announcement_limit: float
    receipt_limit: float
    approval: bool
    approval_limit: float
    training_limit: float
    maintain_cron: str | None
    watch_cron: str | None
    stale_limit: float
    late_limit: float
    deadlines: Mapping[str, float]

    @property
    def use_case(self) -> str:
        """The first of the use cases, whose DAGs are called as their files are."""
        return self.use_cases[0]

    def deadline(self, dag_id: str) -> float:
        """Seconds after which a run of the DAG should have ended; 0: no deadline. What is said of a file holds for
        the DAGs of every use case that it makes."""
        stem = dag_id.partition(SEPARATOR)[0]
        own = self.deadlines.get(dag_id, self.deadlines.get(stem))
        return DEADLINES.get(stem, DEADLINES["others"]) if own is None else own

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

    def switch(name: str) -> bool:
        text = environment.get(f"LAMBDA_DL_{name}") or "0"
        if text not in ("0", "1"):
            raise ValueError(f"setting LAMBDA_DL_{name} has {text!r}: write 0 or 1")
        return text == "1"

    last_day = environment.get("LAMBDA_DL_LAST_DAY")
    return Deployment(
        use_cases=read_use_cases(environment),
        # The minute may change, the hour may not: a cron with an hour drops a backfill's last day.
        ingest_cron=cron("INGEST_CRON", "0 0 * * *") or "0 0 * * *",
        last_day=date.fromisoformat(last_day) if last_day else None,
        train_cron=cron("TRAIN_CRON", "30 2 * * *"),
        metrics_cron=cron("METRICS_CRON", "5 * * * *"),
        refresh_cron=cron("REFRESH_CRON", "*/10 * * * *"),
        landing_limit=seconds("LANDING_LIMIT_SECONDS", 6 * 3600),
        announcement_limit=seconds("ANNOUNCEMENT_LIMIT_SECONDS", 300),
        receipt_limit=seconds("RECEIPT_LIMIT_SECONDS", 300),
        approval=switch("APPROVAL"),
        approval_limit=seconds("APPROVAL_LIMIT_SECONDS", 24 * 3600),
        training_limit=seconds("TRAINING_LIMIT_SECONDS", 4 * 3600),
        maintain_cron=cron("MAINTAIN_CRON", "0 4 * * *"),
        watch_cron=cron("WATCH_CRON", "*/15 * * * *"),
        stale_limit=seconds("STALE_LIMIT_SECONDS", 3600),
        late_limit=seconds("LATE_LIMIT_SECONDS", 8 * 3600),
        deadlines=read_deadlines(environment.get("LAMBDA_DL_DEADLINES") or ""),
    )


def read_deadlines(text: str) -> dict[str, float]:
    """Seconds by DAG from ``dag_id=seconds,...``; raises ``ValueError`` that names the setting and the part."""
    deadlines: dict[str, float] = {}
    for part in filter(None, (word.strip() for word in text.split(","))):
        dag_id, _, limit = part.partition("=")
        if not dag_id.isidentifier() or not limit.isdecimal():
            raise ValueError(f"setting LAMBDA_DL_DEADLINES has {part!r}: write dag_id=seconds,... (0: none)")
        deadlines[dag_id] = float(limit)
    return deadlines


DEPLOYMENT = read_deployment()
