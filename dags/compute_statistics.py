"""After each load, and by hand: where more labels have closed, Spark computes the statistics of the archive."""

from airflow.sdk import DAG

from lambda_dl.cases import CASES
from lambda_dl.conventions import COSTLY, common
from lambda_dl.operators.spark_job import SparkJobOperator
from lambda_dl.tasks import anything_to_compute

for case in CASES:
    with DAG(**common("compute_statistics", case, "serving"), schedule=[case.warehouse], max_active_runs=1):
        compute = SparkJobOperator(
            task_id="compute", job="compute_statistics", use_case=case.name, pool="write_statistics", **COSTLY
        )
        anything_to_compute() >> compute
