"""Prints what the DAGs of a deployment with two use cases are about, as JSON; run in a process of its own.

A process of its own, because a deployment's settings are read once, when its modules are imported.
"""

import json
from pathlib import Path
from typing import Any

from airflow.dag_processing.dagbag import DagBag

from lambda_dl.cases import case_of

ROOT = Path(__file__).resolve().parents[2]


def about(task: Any) -> dict[str, Any]:
    """The use case that a task names, the DAG that it triggers, and the assets that it makes."""
    partial = getattr(task, "partial_kwargs", {})
    arguments = getattr(task, "arguments", None)
    own = arguments.get("use-case") if isinstance(arguments, dict) else None
    return {
        "use_case": getattr(task, "use_case", None) or own,
        "topic": getattr(task, "topic", None),
        "triggers": getattr(task, "trigger_dag_id", None) or partial.get("trigger_dag_id"),
        "outlets": [asset.name for asset in getattr(task, "outlets", None) or partial.get("outlets") or []],
    }


def waits_for(condition: Any) -> list[str]:
    """The names of the assets that start a DAG."""
    if condition is None:
        return []
    parts = getattr(condition, "objects", None)
    return [condition.name] if parts is None else [name for part in parts for name in waits_for(part)]


def main() -> None:
    """All DAGs by id."""
    bag = DagBag(str(ROOT / "dags"), safe_mode=False)
    assert not bag.import_errors, bag.import_errors
    found = {
        dag_id: {
            "case": case_of(dag_id).name,
            "tagged": case_of(dag_id).name in dag.tags,
            "tags": sorted(dag.tags - {case_of(dag_id).name}),
            "waits_for": waits_for(dag.timetable.asset_condition),
            "tasks": {task.task_id: about(task) for task in dag.tasks},
        }
        for dag_id, dag in bag.dags.items()
    }
    print("FOUND " + json.dumps(found))


if __name__ == "__main__":
    main()
