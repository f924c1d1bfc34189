"""On a new candidate, and by hand: gate -> ledger -> broadcast -> the speed service's receipt."""

from airflow.sdk import DAG, Param

from lambda_dl.assets import CANDIDATE, CHAMPION
from lambda_dl.conventions import TRANSIENT, common
from lambda_dl.deployment import DEPLOYMENT, USE_CASE
from lambda_dl.sensors.batch_event import ModelLoadedSensor
from lambda_dl.tasks import choose_candidate, promote

with DAG(
    **common("promote_model", "training"),
    schedule=[CANDIDATE],
    max_active_runs=1,
    params={
        "model_id": Param(
            None,
            type=["null", "string"],
            title="Model id",
            description="The bundle to promote; empty: the candidate that started this run",
        ),
        "accept_quality": Param(
            False,
            type="boolean",
            title="Accept quality",
            description="Promote although the data quality of a training day is below a threshold",
        ),
    },
):
    receipt = ModelLoadedSensor(
        task_id="wait_for_receipt",
        use_case=USE_CASE,
        promoter="promote",
        limit=DEPLOYMENT.receipt_limit,
        outlets=[CHAMPION],
        **TRANSIENT,
    )
    promote(choose_candidate()) >> receipt
