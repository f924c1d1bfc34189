"""The names that the stack creates before anyone uses it: buckets, databases, accounts, topics, pools.

Other parts of the project and clients outside it rely on these; they are the "names that others rely on" of the
architecture page. Knows no address and no secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from include.locations import OWN_TOPICS

BUCKETS = ("landing", "lake", "models")

METASTORE_DATABASE = "hive_metastore"
METASTORE_USER = "metastore"
BATCH_USER = "lambda_batch"
ANALYST_USER = "analyst"
SUPERSET_DATABASE = "superset"
SUPERSET_DB_USER = "superset"

HIVE_USER = "analyst"
WAREHOUSE = "s3a://lake/warehouse"

AIRFLOW_USER = "admin"
SUPERSET_ADMIN = "admin"
SUPERSET_ANALYST = "analyst"
S3_REGION = "us-east-1"
SPARK_MASTER = "local[2]"


@dataclass(frozen=True)
class Topic:
    """A Kafka topic; compacted ones keep the newest value of each key, the others keep everything.

    With ``days``, what is older goes: the tiles of closed days are in the lake.
    """

    name: str
    compacted: bool = False
    days: int | None = None


#: As many days of tiles as the predictor holds.
TILE_DAYS = 31


def topics_of(use_case: str, sources: Sequence[str]) -> tuple[Topic, ...]:
    """The topics of a use case with these sources."""
    return tuple(
        Topic(f"{use_case}.{suffix}", suffix in {"tiles", "models"}, TILE_DAYS if suffix == "tiles" else None)
        for suffix in (*sources, *OWN_TOPICS)
    )


# One slot a pool: one GPU job, one writing driver per group of big tables (Delta on S3 loses commits of a second one).
POOLS: dict[str, str] = {
    "train_gpu": "One training at a time on the accelerator",
    "write_raw": "The one writer of the raw and quarantine tables",
    "write_features": "The one writer of tiles, features and labels",
    "write_predictions": "The one writer of the log of predictions",
    "write_statistics": "The one writer of the statistics of the archive",
    "write_serving": "The one writer of the MySQL serving tables",
}

# What a deployment may say about DAGs, alerts and errors, by variables of the environment that starts the stack.
AIRFLOW_SETTINGS = (
    *(
        "LAMBDA_DL_ALERT_WEBHOOK",
        "LAMBDA_DL_DEADLINES",
        "LAMBDA_DL_STALE_LIMIT_SECONDS",
        "LAMBDA_DL_LATE_LIMIT_SECONDS",
    ),
    *("LAMBDA_DL_RECENT_DAYS", "LAMBDA_DL_VACUUM_HOURS", "LAMBDA_DL_RETENTION_DAYS"),
    *("LAMBDA_DL_INGEST_CRON", "LAMBDA_DL_TRAIN_CRON", "LAMBDA_DL_METRICS_CRON"),
    *("LAMBDA_DL_REFRESH_CRON", "LAMBDA_DL_MAINTAIN_CRON", "LAMBDA_DL_WATCH_CRON"),
    *("LAMBDA_DL_LANDING_LIMIT_SECONDS", "LAMBDA_DL_ANNOUNCEMENT_LIMIT_SECONDS", "LAMBDA_DL_RECEIPT_LIMIT_SECONDS"),
    *("LAMBDA_DL_TRAINING_LIMIT_SECONDS", "LAMBDA_DL_APPROVAL", "LAMBDA_DL_APPROVAL_LIMIT_SECONDS"),
    "AIRFLOW__API__EXPOSE_STACKTRACE",
)

# The shipped facts end with this day; without it the nightly ingest would wait for yesterday.
LAST_DAY = "2013-12-31"
#: What the ids of a use case's DAGs end with, for programs that work on one use case.
DAG_SUFFIX = "LAMBDA_DL_DAG_SUFFIX"
