"""Ray's job REST API, and how a training job reports on its standard output.

Used from operators (through ``asyncio.run``) and from triggers. It does not know what a job trains.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from lambda_dl.connections import ConnectionFields, url_of

PROGRESS = "LAMBDA_DL_PROGRESS "
RESULT = "LAMBDA_DL_RESULT "
RUNNING = ("PENDING", "RUNNING")
REQUEST_SECONDS = 30
TAIL_LINES = 40
ATTEMPTS = 50


class RayUnreachable(ConnectionError):
    """Ray did not answer, or answered that it cannot just now; trying again may help."""


class RayRefused(RuntimeError):
    """Ray refused the request: a wrong token or a malformed job."""


@dataclass(frozen=True)
class JobInfo:
    """What Ray says about a job. ``status`` is PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""

    submission_id: str
    status: str
    message: str
    exit_code: int | None

    @property
    def active(self) -> bool:
        """Whether it may still go on."""
        return self.status in RUNNING


def submission_base(*identity: str) -> str:
    """A job name that follows from a run's identity alone, so that a repeat finds what an earlier try started."""
    return f"{identity[0]}-{hashlib.sha256('|'.join(identity).encode()).hexdigest()[:16]}"


def attempt_id(base: str, attempt: int) -> str:
    """The submission id of one attempt, from 1; Ray takes each id only once."""
    return f"{base}-{attempt}"


def read_progress(logs: str) -> list[dict[str, Any]]:
    """Every progress report in a job's output, oldest first."""
    return _marked(logs, PROGRESS)


def read_result(logs: str) -> dict[str, Any] | None:
    """The result that a job printed last, if any."""
    results = _marked(logs, RESULT)
    return results[-1] if results else None


def _marked(logs: str, mark: str) -> list[dict[str, Any]]:
    found = []
    for line in logs.splitlines():
        _, marked, text = line.partition(mark)
        if marked:
            try:
                value = json.loads(text)
            except ValueError:
                continue  # a line still being written
            if isinstance(value, dict):
                found.append(value)
    return found


def tail(logs: str, lines: int = TAIL_LINES) -> str:
    """The end of a job's output without its progress reports."""
    kept = [line for line in logs.splitlines() if PROGRESS not in line]
    return "\n".join(kept[-lines:])


def progress_text(progress: Mapping[str, Any]) -> str:
    """One line for the task log: trials done, running and failed, the best metric so far."""
    return ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in progress.items())


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({progress_text(value)})"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


@dataclass
class RayJobs:
    """Ray's job API at ``address`` (``http://host:port``)."""

    address: str
    token: str = field(repr=False)

    @classmethod
    def from_connection(cls, connection: ConnectionFields) -> "RayJobs":
        """The API that an Airflow connection names."""
        return cls(url_of(connection), connection.password or "")

    def page(self, submission_id: str) -> str:
        """The job's page in Ray's dashboard."""
        return f"{self.address}/#/jobs/{submission_id}"

    async def submit(
        self, submission_id: str, entrypoint: str, environment: Mapping[str, str], metadata: Mapping[str, str]
    ) -> str:
        """Submit a job whose driver gets ``environment``; returns the submission id."""
        runtime_env = {"env_vars": dict(environment)}
        body = {"submission_id": submission_id, "entrypoint": entrypoint, "runtime_env": runtime_env}
        answer = await self._call("POST", "/api/jobs/", json={**body, "metadata": dict(metadata)})
        return str(answer["submission_id"])

    async def info(self, submission_id: str) -> JobInfo | None:
        """What Ray knows of the job; ``None`` if it knows no such job."""
        answer = await self._call("GET", f"/api/jobs/{submission_id}", missing_ok=True)
        if answer is None:
            return None
        message = str(answer.get("message") or "")
        return JobInfo(submission_id, str(answer["status"]), message, answer.get("driver_exit_code"))

    async def logs(self, submission_id: str) -> str:
        """The job's whole output so far."""
        answer = await self._call("GET", f"/api/jobs/{submission_id}/logs", missing_ok=True)
        return str(answer["logs"]) if answer else ""

    async def stop(self, submission_id: str) -> None:
        """Ask Ray to stop the job; nothing happens if it has ended or is unknown."""
        await self._call("POST", f"/api/jobs/{submission_id}/stop", missing_ok=True)

    async def attempts(self, base: str) -> list[JobInfo]:
        """Every attempt under a base id that Ray knows, oldest first."""
        found: list[JobInfo] = []
        while len(found) < ATTEMPTS:
            info = await self.info(attempt_id(base, len(found) + 1))
            if info is None:
                break
            found.append(info)
        return found

    async def _call(self, method: str, path: str, *, missing_ok: bool = False, **arguments: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
                session.request(method, self.address + path, **arguments) as answer,
            ):
                return await _read(answer, missing_ok)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RayUnreachable(f"Ray at {self.address} does not answer {method} {path}: {error!r}") from error


async def _read(answer: aiohttp.ClientResponse, missing_ok: bool) -> Any:
    if answer.status == 404 and missing_ok:
        return None
    if answer.ok:
        return await answer.json(content_type=None)
    text = f"Ray answered {answer.status} to {answer.method} {answer.url.path}: {(await answer.text())[-500:]}"
    raise RayUnreachable(text) if answer.status >= 500 else RayRefused(text)


def next_attempt(attempts: Sequence[JobInfo], reuse: Sequence[str] = RUNNING) -> tuple[int, bool]:
    """Which attempt to follow, and whether it has to be submitted: the last one if its status may be reused."""
    if attempts and attempts[-1].status in reuse:
        return len(attempts), False
    return len(attempts) + 1, True
