"""The streaming job: two queries in one driver, from Kafka to Kafka, until it is stopped.

``stream.py --use-case NAME``

- *facts* (micro-batches): source topics -> open tiles and progress (``count_facts``);
- *queries* (Real-Time Mode): queries -> prepared queries or rejections (``prepare_queries``).

Settings: ``LAMBDA_DL_CHECKPOINTS`` (a folder, or ``s3a://bucket/prefix`` where the driver may move between machines),
``LAMBDA_DL_FACTS_PER_BATCH`` (most messages of a source in one micro-batch, so that the catch-up after an outage is
bounded), ``LAMBDA_DL_QUERIES_TRIGGER`` (``realtime``, or ``microbatch`` to compare). If one query fails the job ends
with an error, and whoever supervises it starts it again; both go on from their checkpoints.
"""

import argparse
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from include.bundle.store import DirectoryStore, ObjectStore, S3Store
from include.landing import ReferenceMissing
from include.locations import Topics
from include.settings import KafkaSettings, S3Settings, SettingError, require
from include.spark_jobs.count_facts import FactCounter, arrivals_stream, kafka_stream
from include.spark_jobs.prepare_queries import prepared_stream
from include.spark_jobs.session import open_stream_session, start_job
from include.streaming.journal import Journal
from include.use_case import UseCase, load_use_case

log = logging.getLogger("stream")

#: How long one run of the queries' pipeline lasts: at its end Spark writes a checkpoint, for which queries wait some
#: hundred milliseconds, and a crash repeats what came since. Repeats are known by their identity for an hour.
REALTIME_BATCH = "5 minutes"
TRIGGERS = ("realtime", "microbatch")
S3_SCHEME = "s3a://"
ALIVE_SECONDS = 1


@dataclass(frozen=True)
class StreamSettings:
    """Settings of the job; see the module."""

    checkpoints: str
    facts_per_batch: int
    queries_trigger: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "StreamSettings":
        """Read them; raises ``SettingError`` naming the variable at fault."""
        trigger = environment.get("LAMBDA_DL_QUERIES_TRIGGER") or TRIGGERS[0]
        if trigger not in TRIGGERS:
            raise SettingError(f"setting LAMBDA_DL_QUERIES_TRIGGER is {trigger!r}, not one of {', '.join(TRIGGERS)}")
        most = environment.get("LAMBDA_DL_FACTS_PER_BATCH") or "5000"
        if not most.isdecimal() or int(most) < 1:
            raise SettingError(f"setting LAMBDA_DL_FACTS_PER_BATCH is {most!r}, which is no number from 1")
        return cls(require(environment, "LAMBDA_DL_CHECKPOINTS").rstrip("/"), int(most), trigger)


def journal_store(checkpoints: str, s3: S3Settings) -> tuple[ObjectStore, str]:
    """Where the journal lies, beside Spark's checkpoints: a store and the prefix in it."""
    if not checkpoints.startswith(S3_SCHEME):
        return DirectoryStore(Path(checkpoints)), "journal/"
    bucket, _, prefix = checkpoints.removeprefix(S3_SCHEME).partition("/")
    return S3Store(s3, bucket), f"{prefix}/journal/"


def start_facts(
    spark: SparkSession, use_case: UseCase, kafka: KafkaSettings, settings: StreamSettings, stop: threading.Event
) -> StreamingQuery:
    """Start counting facts."""
    store, prefix = journal_store(settings.checkpoints, S3Settings.from_environment())
    counter = FactCounter(use_case, kafka, Journal(store, prefix))
    threading.Thread(target=counter.keep_publishing, args=(stop,), name="counts", daemon=True).start()
    arrivals = arrivals_stream(spark, use_case, kafka, settings.facts_per_batch)
    writer = arrivals.writeStream.foreachBatch(counter.on_batch).queryName("facts")
    return writer.option("checkpointLocation", f"{settings.checkpoints}/facts").start()


def start_queries(
    spark: SparkSession, use_case: UseCase, kafka: KafkaSettings, settings: StreamSettings
) -> StreamingQuery:
    """Start preparing queries."""
    queries = kafka_stream(spark, kafka, Topics(use_case.name).queries)
    rows: DataFrame = prepared_stream(spark, use_case, queries)
    writer = rows.writeStream.format("kafka").outputMode("update").queryName("queries")
    writer = writer.options(**kafka.spark_options()).option("kafka.linger.ms", "0")
    writer = writer.option("checkpointLocation", f"{settings.checkpoints}/queries")
    realtime = settings.queries_trigger == "realtime"
    # pyspark's own overloads do not know the keyword yet
    return (writer.trigger(realTime=REALTIME_BATCH) if realtime else writer).start()  # type: ignore[call-overload]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job until it is stopped or a query fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--use-case", required=True)
    args = parser.parse_args(argv)
    settings, use_case = StreamSettings.from_environment(), load_use_case(args.use_case)
    spark = start_job(f"stream {args.use_case}", open_stream_session)
    kafka, stop = KafkaSettings.from_environment(), threading.Event()
    started = [start_facts(spark, use_case, kafka, settings, stop)]
    log.info("streaming: facts; queries as soon as the references have landed")
    try:
        while not spark.streams.awaitAnyTermination(ALIVE_SECONDS):
            if len(started) == 1:
                started += try_queries(spark, use_case, kafka, settings)
            say_alive(started, settings.checkpoints)
    finally:
        stop.set()


def try_queries(
    spark: SparkSession, use_case: UseCase, kafka: KafkaSettings, settings: StreamSettings
) -> list[StreamingQuery]:
    """Start preparing queries, or say what they wait for: facts are counted before the first reference lands."""
    try:
        query = start_queries(spark, use_case, kafka, settings)
    except ReferenceMissing as error:
        log.debug("queries wait: %s", error)
        return []
    log.info("streaming: facts, queries")
    return [query]


def say_alive(queries: Sequence[StreamingQuery], checkpoints: str) -> None:
    """Touch ``alive`` in a local checkpoint folder while every query runs: whoever supervises the job looks there."""
    if not checkpoints.startswith(S3_SCHEME) and all(query.isActive for query in queries):
        (Path(checkpoints) / "alive").touch()


if __name__ == "__main__":
    main()
