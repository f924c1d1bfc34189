"""The assets that join the DAGs, by name. One use case a deployment: its name is part of each asset's.

``raw`` and ``features`` are partitioned by day; ``candidate``, ``champion``, ``warehouse`` and ``serving`` are not.
"""

from airflow.sdk import Asset

from lambda_dl.deployment import USE_CASE

RAW = Asset(f"{USE_CASE}_raw", uri=f"s3://lake/{USE_CASE}/raw", group=USE_CASE)
FEATURES = Asset(f"{USE_CASE}_features", uri=f"s3://lake/{USE_CASE}/features", group=USE_CASE)
CANDIDATE = Asset(f"{USE_CASE}_candidate", uri=f"s3://models/{USE_CASE}/bundles", group=USE_CASE)
CHAMPION = Asset(f"{USE_CASE}_champion", uri=f"s3://models/{USE_CASE}/ledger", group=USE_CASE)
WAREHOUSE = Asset(f"{USE_CASE}_warehouse", uri=f"s3://lake/{USE_CASE}/runtime_metrics", group=USE_CASE)
SERVING = Asset(f"{USE_CASE}_serving", uri=f"lambda-dl://serving/{USE_CASE}", group=USE_CASE)
