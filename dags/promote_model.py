"""On a new candidate, and by hand: gate -> a person, where wanted -> ledger -> broadcast -> the predictor's receipt."""

from datetime import timedelta

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Param

from lambda_dl.cases import CASES
from lambda_dl.conventions import TRANSIENT, common
from lambda_dl.deployment import DEPLOYMENT
from lambda_dl.sensors.batch_event import ModelLoadedSensor
from lambda_dl.tasks import APPROVE, REJECT, ask_a_person, choose_candidate, judge, promote

for case in CASES:
    with DAG(
        **common("promote_model", case, "training"),
        schedule=[case.candidate],
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
            "approval": Param(
                DEPLOYMENT.approval,
                type="boolean",
                title="Approval",
                description="Ask a person before a candidate that passes the gate is promoted",
            ),
        },
    ):
        receipt = ModelLoadedSensor(
            task_id="wait_for_receipt",
            use_case=case.name,
            promoter="promote",
            limit=DEPLOYMENT.receipt_limit,
            outlets=[case.champion],
            **TRANSIENT,
        )
        approve = HITLOperator(
            task_id="approve",
            subject="Promote candidate {{ ti.xcom_pull(task_ids='choose_candidate')[:12] }}?",
            body="{{ ti.xcom_pull(task_ids='judge') }}",
            options=[APPROVE, REJECT],
            # Nobody's answer promotes nothing, and the next candidate can be judged.
            defaults=REJECT,
            params={
                "comment": Param(
                    None, type=["null", "string"], maxLength=500, title="Comment", description="Kept with your name"
                )
            },
            response_timeout=timedelta(seconds=DEPLOYMENT.approval_limit),
        )
        candidate = choose_candidate()
        promoted = promote(candidate)
        judged = judge(candidate)
        candidate >> ask_a_person() >> [judged, promoted]
        judged >> approve >> promoted >> receipt
