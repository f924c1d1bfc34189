"""A job of a few rows for ``warehouse.check_spark``: it opens a session as every job does and says where it ran.

It does not judge: who started it reads the line that it prints, or its last words.
"""

import platform
from collections.abc import Iterator

import pyarrow as pa

from include.doctor.warehouse import ANSWER
from include.locations import LAKE_BUCKET
from include.spark_jobs.session import open_session


def where(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """For each row the versions of the Python that it met, and this project's own code imported there."""
    from include.tiles import kernel

    for batch in batches:
        text = f"Python {platform.python_version()}, {kernel.__name__}"
        yield pa.RecordBatch.from_pydict({"text": [text] * batch.num_rows})


def main() -> None:
    """Print what was found, on one line."""
    spark = open_session("doctor")
    jvm = spark.sparkContext._jvm
    assert jvm is not None
    lake = jvm.org.apache.hadoop.fs.Path(f"s3a://{LAKE_BUCKET}/")
    lake.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration()).listStatus(lake)
    rows = spark.range(100, numPartitions=2).mapInArrow(where, "text string").distinct().collect()
    pythons = ", ".join(sorted(row["text"].split(",")[0] for row in rows))
    print(f"{ANSWER}Spark {spark.version} opened the lake and ran this project's code ({pythons})", flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
