"""For each preprocessed day, hourly, and by hand: predictions are logged and judged, metrics loaded and read back."""

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param, TriggerRule

from lambda_dl.cases import CASES
from lambda_dl.conventions import COSTLY, common, optional_day
from lambda_dl.deployment import DEPLOYMENT
from lambda_dl.operators.spark_job import SparkJobOperator
from lambda_dl.tasks import anything_ingested, anything_to_score, load_metrics, read_back_metrics

for case in CASES:
    with DAG(
        **common("load_metrics", case, "serving"),
        schedule=DEPLOYMENT.metrics_cron,
        # delta-rs lets many write, but two loads at once would only do the same work twice.
        max_active_runs=1,
        params={
            "from": optional_day("From", "Only said in the log: every message not loaded yet is loaded"),
            "to": optional_day("To", "Only said in the log"),
            "everything": Param(
                False,
                type="boolean",
                title="Everything",
                description="Read the metrics topic from its beginning: after rows of a table were lost",
            ),
        },
    ):
        score = SparkJobOperator(
            task_id="score_predictions", job="score_predictions", use_case=case.name, pool="write_predictions", **COSTLY
        )
        # With nothing to score the job is skipped. Whether it is, or has failed: the metrics are loaded all the same.
        loaded = load_metrics.override(trigger_rule=TriggerRule.ALL_DONE)()
        anything_ingested() >> anything_to_score() >> score >> loaded
        # A run is what its last tasks are: without this one, one whose predictions were not scored would be a success.
        end = EmptyOperator(task_id="scored_and_loaded", trigger_rule=TriggerRule.NONE_FAILED)
        [score, read_back_metrics.override(outlets=[case.warehouse])(loaded)] >> end
