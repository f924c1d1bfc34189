"""What every DAG of this project has in common: owner, tags, documentation, retries, typed form fields.

A retry suits the fault: what another system may get over in a while is tried again with growing pauses; what follows
from the data is not (its task raises ``AirflowFailException``).
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param

from lambda_dl.alerts import deadline, task_failed
from lambda_dl.cases import Case
from lambda_dl.deployment import REPOSITORY
from lambda_dl.span import MACROS

#: Another system did not answer: a few tries over some minutes.
TRANSIENT: dict[str, Any] = {
    "retries": 3,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=5),
}
#: A long job: one more try, since each costs minutes.
COSTLY: dict[str, Any] = {"retries": 1, "retry_delay": timedelta(seconds=30)}
#: Another run has to finish first (an earlier day): many tries over about an hour and a half.
PATIENT: dict[str, Any] = {
    "retries": 20,
    "retry_delay": timedelta(seconds=15),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=5),
}
#: Trying again cannot help.
NEVER: dict[str, Any] = {"retries": 0}


def common(stem: str, case: Case, *tags: str) -> dict[str, Any]:
    """The arguments that every DAG gives to ``DAG``; ``stem`` is the name of its file."""
    return {
        "dag_id": case.dag_id(stem),
        "doc_md": (REPOSITORY / "docs" / "dags" / f"{stem}.md").read_text(),
        "default_args": {"owner": "lambda-dl", "on_failure_callback": task_failed, **TRANSIENT},
        "deadline": deadline(case.dag_id(stem)),
        "tags": ["lambda-dl", case.name, *tags],
        "user_defined_macros": MACROS,
        "catchup": False,
        # A run of a paused DAG, a backfill's too, never starts: nothing here is paused at creation.
        # No start date: a schedule then begins with its next time, never with the one before a DAG was first seen.
        "is_paused_upon_creation": False,
        "max_active_tasks": 8,
    }


def optional_day(title: str, description: str) -> Param:
    """A form field for a UTC day that may be left empty."""
    return Param(None, type=["null", "string"], format="date", title=title, description=description)


def required_day(title: str, description: str) -> Param:
    """A form field for a UTC day that must be filled in."""
    return Param(type="string", format="date", title=title, description=description)
