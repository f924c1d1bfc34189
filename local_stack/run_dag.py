"""`python -m local_stack.run_dag DAG_ID ['{"json": "form"}'] [--then DAG_ID]`: trigger a DAG and follow it to its end.

For a terminal or a script where Airflow's own command line triggers and goes away. The stack's names are read from the
environment (`stack.env`). Knows no DAG.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from local_stack.airflow_api import AirflowApi, RunFailed, now

SECONDS = 3600.0


def run_dag(airflow: AirflowApi, dag_id: str, conf: Mapping[str, Any], then: str) -> None:
    """Run a DAG, and wait for the run of another that it starts (`then`; empty: of none); raises `RunFailed`."""
    for name in filter(None, (dag_id, then)):
        airflow.wait_for_dag(name)
        airflow.unpause(name)
    began = now()
    airflow.follow(dag_id, airflow.trigger(dag_id, conf), SECONDS)
    if then:
        airflow.follow(then, airflow.wait_for_triggered_run(then, began), SECONDS)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m local_stack.run_dag", description="Run a DAG and follow it.")
    parser.add_argument("dag_id")
    parser.add_argument("form", nargs="?", type=json.loads, default={}, help="its form's fields, as a JSON object")
    parser.add_argument("--then", default="", metavar="DAG_ID", help="a DAG that it starts: follow that run too")
    return parser.parse_args(arguments)


def main() -> int:
    """The command: 1 if a run failed."""
    options = parse(sys.argv[1:])
    try:
        run_dag(AirflowApi.from_environment(os.environ), options.dag_id, options.form, options.then)
    except RunFailed as error:
        print(f"lambda-dl: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
