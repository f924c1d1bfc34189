"""One job of the batch layer over a multiplied world, as its DAG would submit it: ``spark-submit job.py NAME ...``.

The jobs' own command lines take shipped use cases alone; a world's exists while it is measured.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from include import book
from include.settings import MysqlSettings
from include.spark_jobs import ingest_raw, preprocess_features, refresh_serving
from include.spark_jobs.session import start_job
from include.use_case import UseCase
from tests.bench.scale.world import parser_of_world, world_from

RUN_ID = "bench"
KEPT_DAYS = 30


def ingest(use_case: UseCase, days: Sequence[date]) -> None:
    """Landing files to raw tables, book closed."""
    spark = start_job("ingest")
    ingest_raw.ingest(spark, use_case, ingest_raw.plan_ingest(use_case, days), RUN_ID)
    spark.stop()
    book.close_ingest_book(use_case, days, RUN_ID)


def preprocess(use_case: UseCase, days: Sequence[date]) -> None:
    """Tiles, features and labels, books closed."""
    spark = start_job("preprocess")
    preprocess_features.preprocess(spark, use_case, days, RUN_ID)
    spark.stop()
    book.close_preprocess_book(use_case, days, RUN_ID)


def train(use_case: UseCase, days: Sequence[date]) -> None:
    """One trial of one epoch, the last training and the evaluation, on all days with closed labels.

    A fifth of them is for the test and a seventh validates, however many they are: so earlier figures compare.
    """
    from include.training import train_model  # seconds that Spark's jobs do not need

    span = ["--from", days[0].isoformat(), "--to", days[-1].isoformat()]
    closed = len(days) - use_case.label_horizon_days
    split = ["--test-days", str(max(1, round(closed / 5))), "--validation-days", str(max(1, round(closed / 7)))]
    size = ["--trials", "1", "--epochs", "1"]
    request = train_model.parse(["--use-case", use_case.name, "--run-id", RUN_ID, *span, *split, *size])
    train_model.train(request, train_model.Systems.from_environment(use_case.name), use_case)


def refresh(use_case: UseCase, days: Sequence[date]) -> None:
    """MySQL with the newest of the days."""
    spark = start_job("refresh")
    kept = replace(use_case, serving=replace(use_case.serving, recent_days=KEPT_DAYS))
    refresh_serving.refresh(spark, kept, MysqlSettings.from_environment(), RUN_ID)
    spark.stop()


JOBS = {"ingest": ingest, "preprocess": preprocess, "train": train, "refresh": refresh}
#: The next day alone, over all that history.
NIGHT = {"night ingest": ingest, "night preprocess": preprocess}


def main() -> None:
    """Run one job."""
    parser = parser_of_world(__doc__)
    parser.add_argument("job", choices=JOBS | NIGHT)
    options = parser.parse_args()
    world = world_from(options)
    days = [world.next_day] if options.job in NIGHT else world.days
    (JOBS | NIGHT)[options.job](world.use_case(), days)


if __name__ == "__main__":
    main()
