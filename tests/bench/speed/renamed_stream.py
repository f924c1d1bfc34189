"""The streaming job under a use-case name of the benchmark's own: the script that ``kafka_path`` gives spark-submit."""

import sys
from dataclasses import replace

from include.spark_jobs import stream
from include.use_case import UseCase, load_use_case


def renamed(name: str) -> UseCase:
    """The shipped use case with topics, tables and a ledger of its own."""
    return replace(load_use_case("flight_delay"), name=name)


if __name__ == "__main__":
    stream.load_use_case = renamed  # type: ignore[attr-defined, assignment]
    stream.main(sys.argv[1:])
