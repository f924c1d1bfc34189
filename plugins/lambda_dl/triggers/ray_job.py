"""Follows a Ray job while its task is deferred: progress into the task log and XCom, the end as an event.

All state is in the serialized arguments and in Ray, so a restarted triggerer goes on where the other stopped. When a
user clears, fails or kills the deferred task, ``on_kill`` stops the job; a mere restart of the triggerer does not.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk import BaseHook
from airflow.sdk.bases.xcom import BaseXCom
from airflow.triggers.base import BaseTrigger, TriggerEvent

from lambda_dl.ray_jobs import JobInfo, RayJobs, RayUnreachable, progress_text, read_progress, read_result, tail

PROGRESS_KEY = "progress"


class RayJobTrigger(BaseTrigger):
    """Fires one event with ``status`` succeeded (and ``result``), failed, stopped, missing or late, and the log's tail.

    ``deadline`` is in seconds since the epoch; Ray may be unreachable until then without harm.
    """

    def __init__(self, conn_id: str, submission_id: str, deadline: float, poll_interval: float = 5.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id
        self.submission_id = submission_id
        self.deadline = deadline
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The whole state."""
        names = ("conn_id", "submission_id", "deadline", "poll_interval")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def _client(self) -> RayJobs:
        return RayJobs.from_connection(await BaseHook.aget_connection(self.conn_id))

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll to the end."""
        client = await self._client()
        last: dict[str, Any] = {}
        while True:
            try:
                info = await client.info(self.submission_id)
                logs = await client.logs(self.submission_id) if info else ""
            except RayUnreachable as error:
                self.log.warning("%s; looking again in %.0f s", error, self.poll_interval)
            else:
                last = await self._report(logs, last)
                if info is None or not info.active:
                    yield TriggerEvent(event_of(info, logs))  # type: ignore[no-untyped-call]
                    return
            if time.time() >= self.deadline:
                yield TriggerEvent({"status": "late", "message": "the time limit is over", "tail": ""})  # type: ignore[no-untyped-call]
                return
            await asyncio.sleep(self.poll_interval)

    async def _report(self, logs: str, last: dict[str, Any]) -> dict[str, Any]:
        """Log what is new since ``last``; after a restart only the newest report."""
        reports = read_progress(logs)
        if not reports or reports[-1] == last:
            return last
        news = reports[reports.index(last) + 1 :] if last in reports else reports[-1:]
        for report in news:
            self.log.info("Training: %s", progress_text(report))
        await self._push(reports[-1])
        return reports[-1]

    async def _push(self, report: dict[str, Any]) -> None:
        ti = self.task_instance
        if ti is None:
            return
        where: dict[str, Any] = {
            "dag_id": ti.dag_id,
            "task_id": ti.task_id,
            "run_id": ti.run_id,
            "map_index": ti.map_index,
        }
        await BaseXCom.aset(key=PROGRESS_KEY, value=report, **where)

    async def on_kill(self) -> None:
        """Stop the job: a user has cleared, failed or killed the task."""
        self.log.info("The task was killed: stopping Ray job %s", self.submission_id)
        await (await self._client()).stop(self.submission_id)


def event_of(info: JobInfo | None, logs: str) -> dict[str, Any]:
    """What the sensor is told about a job that has ended, or that Ray does not know (its head was started anew)."""
    if info is None:
        return {"status": "missing", "message": "Ray knows no such job", "tail": ""}
    # Behind its first line Ray's message repeats the log, whose tail is given anyway.
    end = {"message": info.message.partition("\n")[0], "tail": tail(logs), "exit_code": info.exit_code}
    if info.status != "SUCCEEDED":
        return {"status": info.status.lower(), **end}
    result = read_result(logs)
    if result is None:
        return {"status": "failed", **end, "message": "the job ended well but printed no result"}
    return {"status": "succeeded", "result": result}
