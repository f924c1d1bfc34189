"""Who is answerable for a DAG run: the Airflow user who triggered it, for the ledger and other records of decisions."""

from typing import Any

#: Who acts when no person has triggered the run: a schedule, an asset, or the command line.
AIRFLOW = "airflow"


def actor_of(dag_run: Any) -> str:
    """The name of the user who triggered the run, or ``airflow``."""
    return str(getattr(dag_run, "triggering_user_name", None) or AIRFLOW)
