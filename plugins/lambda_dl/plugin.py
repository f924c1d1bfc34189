"""Registers with Airflow what is no DAG: the page *Models and books*, the link to Ray, turns for SQLite's writers."""

from collections.abc import Mapping
from typing import Any, ClassVar

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperatorLink

from lambda_dl.console import PREFIX, VIEW, Console
from lambda_dl.links import RayDashboardLink
from lambda_dl.one_writer import middlewares


class LambdaDlPlugin(AirflowPlugin):
    """The package as an Airflow plugin."""

    name = "lambda_dl"
    operator_extra_links: ClassVar[list[BaseOperatorLink]] = [RayDashboardLink()]  # type: ignore[misc]
    fastapi_apps: ClassVar[list[Mapping[str, Any]]] = [{"app": Console(), "url_prefix": PREFIX, "name": "lambda-dl"}]  # type: ignore[misc]
    fastapi_root_middlewares: ClassVar[list[Mapping[str, Any]]] = middlewares(  # type: ignore[misc]
        conf.get("database", "sql_alchemy_conn", fallback="")
    )
    external_views: ClassVar[list[Mapping[str, str]]] = [dict(VIEW)]  # type: ignore[misc]
