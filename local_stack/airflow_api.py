"""A small client of Airflow's REST API: trigger a DAG, follow its run, read why a task failed.

Used by the demo and the end-to-end test. It knows Airflow's public API alone, nothing of what the DAGs do. Where it is
made for a use case beside the deployment's first one, a DAG is asked for by the plain id all the same.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from local_stack.names import DAG_SUFFIX

FINISHED = ("success", "failed")
#: The most that Airflow answers at once.
PAGE = 100
Report = Callable[[str], None]


class RunFailed(RuntimeError):
    """A DAG run failed or did not end in time; the message names the run, the tasks and the end of their logs."""


@dataclass
class AirflowApi:
    """Airflow at ``url``, signed in as ``user``."""

    url: str
    user: str
    password: str = field(repr=False)
    dag_suffix: str = ""
    _token: str = field(default="", repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "AirflowApi":
        """The Airflow that the stack's environment names."""
        url, user, password = (environment[f"AIRFLOW_{name}"] for name in ("URL", "USER", "PASSWORD"))
        return cls(url, user, password, environment.get(DAG_SUFFIX, ""))

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """Call ``/api/v2{path}`` and return the JSON answer; signs in first, and again when the token expired."""
        self._token = self._token or self._sign_in()
        answer = self._send(method, path, **arguments)
        if answer.status_code == 401:
            self._token = self._sign_in()
            answer = self._send(method, path, **arguments)
        if answer.is_error:
            raise RunFailed(f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:500]}")
        return answer.json() if answer.content else None

    def _of(self, dag_id: str, rest: str = "") -> str:
        """The path of something of a DAG."""
        return f"/dags/{dag_id}{self.dag_suffix}/{rest}".rstrip("/")

    def page(self, path: str) -> str:
        """A page that a plugin serves beside the REST API; raises ``RunFailed`` unless it is there for this user."""
        self._token = self._token or self._sign_in()
        answer = httpx.get(f"{self.url}{path}", headers={"Authorization": f"Bearer {self._token}"}, timeout=60)
        if answer.is_error:
            raise RunFailed(f"Airflow answered {answer.status_code} to {path}: {answer.text[:500]}")
        return answer.text

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        return httpx.request(method, f"{self.url}/api/v2{path}", headers=headers, timeout=60, **arguments)

    def _sign_in(self) -> str:
        credentials = {"username": self.user, "password": self.password}
        answer = httpx.post(f"{self.url}/auth/token", json=credentials, timeout=60)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def unpause(self, dag_id: str) -> None:
        """Let the DAG run."""
        self.call("PATCH", self._of(dag_id), json={"is_paused": False})

    def pause(self, dag_id: str) -> None:
        """Let the DAG start no run; the ones that run go on."""
        self.call("PATCH", self._of(dag_id), json={"is_paused": True})

    def wait_for_dag(self, dag_id: str, seconds: float = 180) -> None:
        """Wait until the DAG processor has parsed the DAG; raises ``RunFailed`` with the import errors if not."""
        for _ in poll(seconds, every=2):
            known = self.call("GET", "/dags", params={"dag_id_pattern": dag_id, "limit": 100})["dags"]
            if any(dag["dag_id"] == f"{dag_id}{self.dag_suffix}" for dag in known):
                return
        errors = self.call("GET", "/importErrors")["import_errors"]
        raise RunFailed(f"Airflow does not know DAG {dag_id} after {seconds:.0f} s; import errors: {errors}")

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, partition_key: str | None = None) -> str:
        """Start a run by hand and return its run id."""
        body: dict[str, Any] = {"logical_date": None, "conf": dict(conf or {})}
        if partition_key is not None:
            body["partition_key"] = partition_key
        return str(self.call("POST", self._of(dag_id, "dagRuns"), json=body)["dag_run_id"])

    def runs_since(self, dag_id: str, since: datetime) -> list[dict[str, Any]]:
        """The DAG's runs queued at or after ``since`` (UTC), oldest first."""
        query = {"run_after_gte": since.isoformat(), "order_by": "run_after", "limit": PAGE}
        found: list[dict[str, Any]] = []
        while True:
            page = self.call("GET", self._of(dag_id, "dagRuns"), params={**query, "offset": len(found)})["dag_runs"]
            found += page
            if len(page) < PAGE:
                return found

    def wait_for_triggered_run(
        self, dag_id: str, since: datetime, seconds: float = 300, partition_key: str | None = None, by: str = ""
    ) -> str:
        """Wait for a run that something else (an asset, or the DAG ``by``) starts, and return its run id."""
        for _ in poll(seconds):
            for run in self.runs_since(dag_id, since):
                if partition_key in (None, run.get("partition_key")) and run["dag_run_id"].startswith(by):
                    return str(run["dag_run_id"])
        raise RunFailed(f"no run of {dag_id} was started within {seconds:.0f} s")

    def follow(self, dag_id: str, run_id: str, seconds: float, report: Report = print) -> dict[str, Any]:
        """Follow a run to its end, reporting each task's change of state; raises ``RunFailed`` unless it succeeds."""
        seen: dict[str, str] = {}
        for _ in poll(seconds):
            self._report_changes(dag_id, run_id, seen, report)
            run: dict[str, Any] = self.call("GET", self._of(dag_id, f"dagRuns/{run_id}"))
            if run["state"] in FINISHED:
                self._report_changes(dag_id, run_id, seen, report)
                if run["state"] == "success":
                    return run
                raise RunFailed(self._describe_failure(dag_id, run_id))
        raise RunFailed(f"{dag_id} {run_id} did not end within {seconds:.0f} s; tasks: {seen}")

    def respond(
        self, dag_id: str, run_id: str, task_id: str, option: str, fields: Mapping[str, Any], seconds: float = 300
    ) -> dict[str, Any]:
        """Wait until a task asks a person, give that person's answer, and return what was asked when it was taken.

        Airflow may fail a task that goes on within a second of its first process' end, and asks again in its next try
        (apache/airflow issue 72716): who answers as fast as a program must be ready to be asked twice.
        """
        path = self._of(dag_id, f"dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails")
        asked: dict[str, Any] = {}
        for _ in poll(seconds):
            states = {task["task_id"]: task["state"] for task in self.task_instances(dag_id, run_id)}
            if states.get(task_id) in FINISHED and asked:
                return asked
            if states.get(task_id) == "awaiting_input":
                asked = self.call("GET", path)
                self.call("PATCH", path, json={"chosen_options": [option], "params_input": dict(fields)})
        ended = "took no answer" if asked else "asked nobody"
        raise RunFailed(f"{dag_id} {run_id}: task {task_id} {ended} within {seconds:.0f} s; tasks: {states}")

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The run's task instances."""
        return list(self.call("GET", self._of(dag_id, f"dagRuns/{run_id}/taskInstances"))["task_instances"])

    def log_tail(self, dag_id: str, run_id: str, task: Mapping[str, Any], lines: int = 25) -> str:
        """The last lines of a task's newest try."""
        path = self._of(dag_id, f"dagRuns/{run_id}/taskInstances/{task['task_id']}/logs/{max(task['try_number'], 1)}")
        content = self.call("GET", path, params={"map_index": task["map_index"]})["content"]
        return "\n".join([text for line in content for text in log_texts(line)][-lines:])

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """One XCom value of a task."""
        path = self._of(dag_id, f"dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}")
        return self.call("GET", path, params={"deserialize": "true"})["value"]

    def _report_changes(self, dag_id: str, run_id: str, seen: dict[str, str], report: Report) -> None:
        for task in self.task_instances(dag_id, run_id):
            state = task["state"] or "none"
            if seen.get(task["task_id"]) != state and state not in ("none", "scheduled", "queued"):
                report(f"{dag_id}.{task['task_id']}: {state}")
            seen[task["task_id"]] = state

    def _describe_failure(self, dag_id: str, run_id: str) -> str:
        failed = [task for task in self.task_instances(dag_id, run_id) if task["state"] == "failed"]
        tails = [f"--- {task['task_id']}\n{self.log_tail(dag_id, run_id, task)}" for task in failed]
        return f"{dag_id} {run_id} failed\n" + "\n".join(tails)


def log_texts(line: Any) -> list[str]:
    """What one line of a task's log says; an exception's type and value are kept beside it, not in it."""
    if not isinstance(line, dict):
        return [str(line)]
    errors = [f"{e.get('exc_type')}: {e.get('exc_value')}" for e in line.get("error_detail") or ()]
    return [str(line.get("event", line)), *errors]


def poll(seconds: float, every: float = 1.0) -> Iterator[None]:
    """Yield about every ``every`` seconds until ``seconds`` have passed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(every)


def now() -> datetime:
    """The current time, UTC."""
    return datetime.now(UTC)
