"""Waits for what other parties announce on Kafka: the Spark workers' finished days, the speed service's receipt.

The messages of this very run (or of this very promotion) are waited for, never a point in time.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from include.locations import Topics
from lambda_dl.connections import KAFKA
from lambda_dl.span import span_of_run
from lambda_dl.triggers.kafka_messages import KafkaMessagesTrigger

#: How far the clocks of two machines may lie apart before something waits for the wrong time.
CLOCKS_DIFFER = timedelta(minutes=10)


class MessageLate(AirflowException):
    """Expected messages did not come within the limit; the text names them."""


class KafkaSensor(BaseSensorOperator):
    """Deferred until every message in ``expectations(context)`` has come on ``topic``; at most ``limit`` seconds."""

    def __init__(self, *, topic: str, limit: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.topic = topic
        self.limit = limit

    def expectations(self, context: Any) -> list[Mapping[str, Any]]:
        """The fields by which the messages are known."""
        raise NotImplementedError

    def since_ms(self, context: Any) -> int:
        """Where to begin reading, milliseconds since the epoch."""
        raise NotImplementedError

    def execute(self, context: Any) -> Any:
        """Defer."""
        expected = self.expectations(context)
        self.log.info("Waiting up to %.0f s on %s for %d messages: %s", self.limit, self.topic, len(expected), expected)
        deadline = time.time() + self.limit
        trigger = KafkaMessagesTrigger(KAFKA, self.topic, expected, self.since_ms(context), deadline)
        self.defer(trigger=trigger, method_name="arrived")

    def arrived(self, context: Any, event: Mapping[str, Any]) -> Sequence[Any]:
        """Return the messages; raises ``MessageLate`` naming those that did not come."""
        if event["status"] == "late":
            raise MessageLate(f"{self.topic} did not carry within {self.limit:.0f} s: {event['missing']}")
        for message in event["messages"]:
            self.log.info("Announced: %s", message)
        return list(event["messages"])


class DayAnnouncedSensor(KafkaSensor):
    """Waits for the announcement of each of the run's days by the Spark job that the task ``announcer`` ran."""

    def __init__(self, *, use_case: str, announcer: str, event: str = "features_ready", **kwargs: Any) -> None:
        super().__init__(topic=Topics(use_case).batch_events, **kwargs)
        self.announcer = announcer
        self.event = event

    def expectations(self, context: Any) -> list[Mapping[str, Any]]:
        """One announcement a day, of this run."""
        run_id = context["dag_run"].run_id
        return [{"event": self.event, "run_id": run_id, "ds": day} for day in span_of_run(context).partition_keys()]

    def since_ms(self, context: Any) -> int:
        """When the announcing task's last try began: what an earlier try announced does not count."""
        return started_at(context, self.announcer)


class ModelLoadedSensor(KafkaSensor):
    """Waits until the speed service confirms that it serves the ledger line that the task ``promoter`` has broadcast.

    That task returns ``{"model_id", "sequence", "time", "reasons", ...}``. Without a line to wait for (``sequence`` is
    None: a refused candidate) this task is skipped.
    """

    def __init__(self, *, use_case: str, promoter: str, **kwargs: Any) -> None:
        super().__init__(topic=Topics(use_case).metrics, **kwargs)
        self.promoter = promoter

    def expectations(self, context: Any) -> list[Mapping[str, Any]]:
        """The receipt for this line of the ledger."""
        outcome = context["ti"].xcom_pull(task_ids=self.promoter)
        if outcome["sequence"] is None:
            raise AirflowSkipException("no line of the ledger to wait for: " + "; ".join(outcome["reasons"]))
        return [{"kind": "model_loaded", "model_id": outcome["model_id"], "sequence": outcome["sequence"]}]

    def since_ms(self, context: Any) -> int:
        """Shortly before the ledger line was written: the topic keeps everything, and clocks differ a little."""
        line = datetime.fromisoformat(context["ti"].xcom_pull(task_ids=self.promoter)["time"])
        return int((line - CLOCKS_DIFFER).timestamp() * 1000)


def started_at(context: Any, task_id: str) -> int:
    """The time that a task pushed as ``started_at_ms``; raises ``AirflowException`` if it pushed none."""
    value = context["ti"].xcom_pull(task_ids=task_id, key="started_at_ms")
    if value is None:
        raise AirflowException(f"task {task_id} has not said when it began; clear it together with this one")
    return int(value)
