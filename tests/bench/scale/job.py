"""One job of the batch layer over a multiplied world, as its DAG would submit it: ``spark-submit job.py NAME ...``.

The jobs' own command lines take shipped use cases alone; a world's exists while it is measured.
"""

from dataclasses import replace

from include import book
from include.settings import MysqlSettings
from include.spark_jobs import ingest_raw, preprocess_features, refresh_serving
from include.spark_jobs.session import start_job
from include.training import train_model
from include.use_case import UseCase
from tests.bench.scale.world import World, parser_of_world, world_from

RUN_ID = "bench"
KEPT_DAYS = 30


def ingest(world: World, use_case: UseCase) -> None:
    """Landing files to raw tables, book closed."""
    spark = start_job("ingest")
    ingest_raw.ingest(spark, use_case, world.days, RUN_ID)
    spark.stop()
    book.close_ingest_book(use_case, world.days, RUN_ID)


def preprocess(world: World, use_case: UseCase) -> None:
    """Tiles, features and labels, books closed."""
    spark = start_job("preprocess")
    preprocess_features.preprocess(spark, use_case, world.days, RUN_ID)
    spark.stop()
    book.close_preprocess_book(use_case, world.days, RUN_ID)


def train(world: World, use_case: UseCase) -> None:
    """One trial of one epoch, the last training and the evaluation, on all days with closed labels."""
    span = ["--from", world.days[0].isoformat(), "--to", world.days[-1].isoformat()]
    size = ["--trials", "1", "--epochs", "1"]
    request = train_model.parse(["--use-case", world.name, "--run-id", RUN_ID, *span, *size])
    train_model.train(request, train_model.Systems.from_environment(world.name), use_case)


def refresh(world: World, use_case: UseCase) -> None:
    """MySQL with the newest days."""
    spark = start_job("refresh")
    kept = replace(use_case, serving=replace(use_case.serving, recent_days=KEPT_DAYS))
    refresh_serving.refresh(spark, kept, MysqlSettings.from_environment(), RUN_ID)
    spark.stop()


JOBS = {"ingest": ingest, "preprocess": preprocess, "train": train, "refresh": refresh}


def main() -> None:
    """Run one job."""
    parser = parser_of_world(__doc__)
    parser.add_argument("job", choices=JOBS)
    options = parser.parse_args()
    world = world_from(options)
    JOBS[options.job](world, world.use_case())


if __name__ == "__main__":
    main()
