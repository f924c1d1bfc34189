"""Every night on a cron, and by hand with a window: features of closed label days -> candidate."""

from typing import Any

from airflow.sdk import DAG, Param, task

from lambda_dl.cases import CASES, case_now
from lambda_dl.conventions import COSTLY, TRANSIENT, common, optional_day
from lambda_dl.deployment import DEPLOYMENT
from lambda_dl.operators.ray_train import RayTrainOperator
from lambda_dl.sensors.ray_tune import RayTuneSensor
from lambda_dl.tasks import choose_window, require_quality


@task
def announce_candidate(result: dict[str, Any], *, outlet_events: Any) -> str:
    """Hand the candidate to promote_model."""
    outlet_events[case_now().candidate].extra = {"model_id": result["model_id"], "run_id": result["run_id"]}
    return str(result["model_id"])


#: More than any task has by itself.
FOLLOWS_AT_ONCE = 100

for case in CASES:
    with DAG(
        **common("train_model", case, "training", "nightly"),
        schedule=DEPLOYMENT.train_cron,
        max_active_runs=1,
        params={
            "from": optional_day("From", "First UTC day; empty: the first day with closed labels"),
            "to": optional_day("To", "Last UTC day, included; empty: the last day with closed labels"),
            "trials": Param(8, type="integer", minimum=1, maximum=500, title="Trials", description="Of the search"),
            "epochs": Param(
                8, type="integer", minimum=1, maximum=1000, title="Epochs", description="At most, per trial"
            ),
            "start": Param(
                "fresh",
                type="string",
                enum=["fresh", "champion"],
                title="Start",
                description="Afresh, or from the champion's weights",
            ),
            "seed": Param(
                0, type="integer", minimum=0, title="Seed", description="The same seed gives the same search"
            ),
            "time_budget_s": Param(
                None,
                type=["null", "number"],
                minimum=1,
                title="Time budget",
                description="Stop the search after, seconds",
            ),
            "accept_quality": Param(
                False,
                type="boolean",
                title="Accept quality",
                description="Train although the data quality of a day is below a threshold",
            ),
        },
    ):
        window = choose_window()
        submit = RayTrainOperator(
            task_id="submit",
            module="include.training.train_model",
            arguments={
                "use-case": case.name,
                "from": "{{ ti.xcom_pull(task_ids='choose_window')['from'] }}",
                "to": "{{ ti.xcom_pull(task_ids='choose_window')['to'] }}",
                "without": "{{ ti.xcom_pull(task_ids='choose_window').get('without', '') }}",
                "trials": "{{ params.trials }}",
                "epochs": "{{ params.epochs }}",
                "seed": "{{ params.seed }}",
                "start": "{{ params.start }}",
                "time-budget-s": "{{ params.time_budget_s or '' }}",
                "run-id": "{{ run_id }}",
            },
            pool="train_gpu",
            weight_rule="absolute",
            **TRANSIENT,
        )
        search = RayTuneSensor(
            task_id="follow_search",
            submitter="submit",
            limit=DEPLOYMENT.training_limit,
            pool="train_gpu",
            # The slot that submit leaves is this one's, before another use case's submit that waits for it.
            priority_weight=FOLLOWS_AT_ONCE,
            weight_rule="absolute",
            **COSTLY,
        )
        require_quality(window) >> submit >> search
        announce_candidate.override(outlets=[case.candidate])(search.output)
