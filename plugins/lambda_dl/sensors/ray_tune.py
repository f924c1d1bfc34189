"""RayTuneSensor: follows a Ray Tune search to its end without holding a worker.

Trials done, running and failed and the best metric so far go into the task log and XCom (``progress``); a link leads
to the job in Ray's dashboard; a failure carries the end of Ray's log. It does not know what is trained.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from lambda_dl.connections import RAY
from lambda_dl.links import DASHBOARD_URL_KEY, RayDashboardLink
from lambda_dl.operators.ray_train import ray_jobs, submit_attempt
from lambda_dl.ray_jobs import RayJobs, attempt_id, next_attempt
from lambda_dl.triggers.ray_job import RayJobTrigger

#: Exit status of a training job whose input is wrong (no closed days, say): repeating it gives the same answer.
DATA_ERROR = 2
#: A first try reports how the submitted job ended; a later one may also start it anew.
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class TrainingFailed(AirflowException):
    """The Ray job failed, was stopped or is unknown to Ray; the text ends with the tail of its log."""


class RayTuneSensor(BaseSensorOperator):
    """Follow the job that the task ``submitter`` submitted and return the object that the job printed as its result.

    A first try follows that job. A later try, or one after the sensor was cleared, attaches to it while it runs, takes
    its result if it succeeded, and submits a new attempt if it failed, was stopped or is unknown to a restarted Ray.
    ``limit`` is in seconds.
    """

    operator_extra_links = (RayDashboardLink(),)

    def __init__(self, *, submitter: str, limit: float, poll_interval: float = 5.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.submitter = submitter
        self.limit = limit
        self.poll_interval = poll_interval
        self._submission_id: str | None = None

    def execute(self, context: Any) -> Any:
        """Find or restart the job, then defer."""
        ti = context["ti"]
        job = ti.xcom_pull(task_ids=self.submitter)
        client = ray_jobs()
        self._submission_id = self._choose(client, job, ti.try_number)
        page = client.page(self._submission_id)
        ti.xcom_push(key=DASHBOARD_URL_KEY, value=page)
        self.log.info("Following Ray job %s: %s", self._submission_id, page)
        deadline = time.time() + self.limit
        trigger = RayJobTrigger(RAY, self._submission_id, deadline, self.poll_interval)
        self.defer(trigger=trigger, method_name="ended", kwargs={"submission_id": self._submission_id})

    def _choose(self, client: RayJobs, job: Mapping[str, Any], try_number: int) -> str:
        attempts = asyncio.run(client.attempts(job["base"]))
        reuse = ("PENDING", "RUNNING", "SUCCEEDED") if try_number > 1 else ("PENDING", "RUNNING", *ENDED)
        attempt, submit = next_attempt(attempts, reuse)
        if submit:
            self.log.info("No running attempt of %s: submitting attempt %d", job["base"], attempt)
            submit_attempt(client, job["base"], attempt, job)
        return attempt_id(job["base"], attempt)

    def ended(self, context: Any, event: Mapping[str, Any], submission_id: str) -> Any:
        """Return the result; raises ``TrainingFailed``, or ``AirflowFailException`` if trying again cannot help."""
        if event["status"] == "succeeded":
            self.log.info("Training result: %s", event["result"])
            return event["result"]
        if event["status"] == "late":
            asyncio.run(ray_jobs().stop(submission_id))
            raise AirflowFailException(f"Ray job {submission_id} was stopped after {self.limit:.0f} s")
        text = f"Ray job {submission_id} {event['status']}: {event['message']}\n{event['tail']}"
        if event.get("exit_code") == DATA_ERROR:
            raise AirflowFailException(text)
        raise TrainingFailed(text)

    def on_kill(self) -> None:
        """Killed in a worker (before it deferred): stop the job. While deferred, the trigger does this."""
        if self._submission_id:
            asyncio.run(ray_jobs().stop(self._submission_id))
