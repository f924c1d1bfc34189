"""Links from a task in Airflow's UI to the system that does its work."""

from typing import Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.bases.xcom import BaseXCom

DASHBOARD_URL_KEY = "ray_dashboard_url"


class RayDashboardLink(BaseOperatorLink):
    """The Ray job that a task submitted or follows; the task pushes the address to XCom as soon as it knows it."""

    name = "Ray dashboard"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the job's page, or an empty text while there is none."""
        url = BaseXCom.get_value(key=DASHBOARD_URL_KEY, ti_key=ti_key)
        return url if isinstance(url, str) else ""
