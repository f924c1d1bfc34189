"""Registers what the Airflow UI needs to know of this package: the link from a training task to Ray's dashboard."""

from typing import ClassVar

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperatorLink

from lambda_dl.links import RayDashboardLink


class LambdaDlPlugin(AirflowPlugin):
    """The package as an Airflow plugin."""

    name = "lambda_dl"
    operator_extra_links: ClassVar[list[BaseOperatorLink]] = [RayDashboardLink()]  # type: ignore[misc]
