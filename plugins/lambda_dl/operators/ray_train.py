"""Submits the Ray job that searches, trains and evaluates; ``RayTuneSensor`` follows it.

The job's name follows from the DAG run, so a retried submission finds the job that an earlier try started. Endpoints
travel with the job. Credentials do not: Ray writes a job's environment into its own logs. Ray's nodes have the S3 keys
in the environment that their deployment gives them.
"""

import asyncio
import os
import shlex
from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseHook, BaseOperator

from lambda_dl.connections import CREDENTIALS, KAFKA, RAY, S3, extra_of, read_environment
from lambda_dl.deployment import REPOSITORY
from lambda_dl.links import DASHBOARD_URL_KEY, RayDashboardLink
from lambda_dl.ray_jobs import RayJobs, attempt_id, next_attempt, submission_base

JOB_CONNECTIONS = (S3, KAFKA)


def command(python: str, module: str, arguments: Mapping[str, Any]) -> str:
    """The job's entry point as one shell line; arguments without a value are left out."""
    words = [python, "-m", module]
    for name, value in arguments.items():
        if value not in (None, "", "None"):
            words += [f"--{name}", str(value)]
    return shlex.join(words)


def ray_jobs() -> RayJobs:
    """Ray's job API by its Airflow connection."""
    return RayJobs.from_connection(BaseHook.get_connection(RAY))


def submit_attempt(client: RayJobs, base: str, attempt: int, job: Mapping[str, Any]) -> str:
    """Submit one attempt of a job described by ``entrypoint`` and ``metadata``; returns its submission id."""
    extra = extra_of(RAY)
    path = extra.get("pythonpath") or str(REPOSITORY)
    endpoints = {name: value for name, value in read_environment(*JOB_CONNECTIONS).items() if name not in CREDENTIALS}
    environment = {**endpoints, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    submission_id = attempt_id(base, attempt)
    return asyncio.run(client.submit(submission_id, job["entrypoint"], environment, job["metadata"]))


class RayTrainOperator(BaseOperator):
    """Submit ``python -m <module> --name value ...`` and return ``{base, submission_id, entrypoint, metadata}``.

    ``arguments`` is a template. A retry attaches to the job if it is still active; otherwise a new attempt is made.
    """

    template_fields = ("arguments",)
    operator_extra_links = (RayDashboardLink(),)

    def __init__(self, *, module: str, arguments: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.module = module
        self.arguments = dict(arguments)
        self._submission_id: str | None = None

    def execute(self, context: Any) -> dict[str, Any]:
        """Attach or submit; raises ``RayUnreachable`` (worth a retry) or ``RayRefused``."""
        client = ray_jobs()
        job = self._describe(context)
        attempt, submit = next_attempt(asyncio.run(client.attempts(job["base"])))
        self._submission_id = attempt_id(job["base"], attempt)
        context["ti"].xcom_push(key=DASHBOARD_URL_KEY, value=client.page(self._submission_id))
        if submit:
            submit_attempt(client, job["base"], attempt, job)
        self.log.info("%s %s: %s", "Submitted" if submit else "Attached to", self._submission_id, job["entrypoint"])
        return {**job, "submission_id": self._submission_id}

    def _describe(self, context: Any) -> dict[str, Any]:
        ti = context["ti"]
        python = extra_of(RAY).get("python") or "python"
        return {
            "base": submission_base(ti.dag_id, ti.run_id, str(ti.map_index)),
            "entrypoint": command(python, self.module, self.arguments),
            "metadata": {"dag_id": ti.dag_id, "run_id": ti.run_id, "airflow_host": os.uname().nodename},
        }

    def on_kill(self) -> None:
        """A killed task stops the job it has just submitted."""
        if self._submission_id:
            asyncio.run(ray_jobs().stop(self._submission_id))
