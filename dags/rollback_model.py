"""By hand, a form: an earlier champion -> ledger -> broadcast -> the speed service's receipt."""

from airflow.sdk import DAG, Param

from lambda_dl.cases import CASES
from lambda_dl.conventions import TRANSIENT, common
from lambda_dl.deployment import DEPLOYMENT
from lambda_dl.recovery import reason_field, roll_back
from lambda_dl.sensors.batch_event import ModelLoadedSensor

for case in CASES:
    with DAG(
        **common("rollback_model", case, "training", "by-hand"),
        schedule=None,
        max_active_runs=1,
        params={
            "model_id": Param(
                None,
                type=["null", "string"],
                title="Model id",
                description="An earlier champion, by its id or the beginning of it; empty: the one before this one",
            ),
            "reason": reason_field("Why: kept in the ledger, with your name"),
        },
    ):
        receipt = ModelLoadedSensor(
            task_id="wait_for_receipt",
            use_case=case.name,
            promoter="roll_back",
            limit=DEPLOYMENT.receipt_limit,
            outlets=[case.champion],
            **TRANSIENT,
        )
        roll_back() >> receipt
