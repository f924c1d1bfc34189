"""After each load, and by hand: where more labels have closed, Spark computes the statistics of the archive."""

from airflow.sdk import DAG

from lambda_dl.assets import WAREHOUSE
from lambda_dl.conventions import COSTLY, common
from lambda_dl.operators.spark_job import SparkJobOperator
from lambda_dl.tasks import anything_to_compute

with DAG(**common("compute_statistics", "serving"), schedule=[WAREHOUSE], max_active_runs=1):
    compute = SparkJobOperator(task_id="compute", job="compute_statistics", pool="write_statistics", **COSTLY)
    anything_to_compute() >> compute
