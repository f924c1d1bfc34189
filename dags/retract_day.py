"""By hand, a form: a source's day is withdrawn after a human error (or restored), with all that was derived from it."""

from airflow.sdk import DAG, Param

from lambda_dl.cases import CASES
from lambda_dl.conventions import TRANSIENT, common, required_day
from lambda_dl.deployment import DEPLOYMENT
from lambda_dl.operators.derive_days import DERIVING_DAG, DeriveDaysOperator
from lambda_dl.recovery import (
    demote_champion,
    dry_run_field,
    list_blast_radius,
    reason_field,
    record_tombstones,
    source_field,
    unless_dry_run,
)
from lambda_dl.sensors.batch_event import ModelLoadedSensor

for case in CASES:
    with DAG(
        **common("retract_day", case, "batch", "by-hand"),
        schedule=None,
        max_active_runs=1,
        params={
            "source": source_field(case, "Whose day"),
            "ds": required_day("Day", "UTC day of the landing folder"),
            "file": Param(
                None,
                type=["null", "string"],
                title="File",
                description="Name of one file in that folder; empty: all of them",
            ),
            "action": Param(
                "retract",
                type="string",
                enum=["retract", "restore"],
                title="Action",
                description="Withdraw the day's facts, or bring them back",
            ),
            "reason": reason_field("Why: kept with the tombstone and in the ledger, with your name"),
            "dry_run": dry_run_field("Only list, in the log of list_blast_radius, what depends on the day"),
        },
    ):
        receipt = ModelLoadedSensor(
            task_id="wait_for_receipt",
            use_case=case.name,
            promoter="demote_champion",
            limit=DEPLOYMENT.receipt_limit,
            outlets=[case.champion],
            **TRANSIENT,
        )
        withdrawn = record_tombstones()
        list_blast_radius() >> unless_dry_run() >> withdrawn
        withdrawn >> demote_champion() >> receipt
        DeriveDaysOperator.partial(
            task_id="derive", trigger_dag_id=case.dag_id(DERIVING_DAG), **TRANSIENT
        ).expand_kwargs(withdrawn)
