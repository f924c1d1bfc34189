"""The streaming job: Spark from Kafka to Kafka, its checkpoints in the state folder. On demand, since it never idles.

It is healthy while both of its queries answer: the probe asks Kafka nothing, it reads what the job says of itself.
"""

from __future__ import annotations

import time
from pathlib import Path

from include.use_cases import DEFAULT_USE_CASE
from local_stack.environment import process_env
from local_stack.stack import Server, Stack

KIND = "stream"
#: One slot for the queries' never-ending task, one for each source topic in a micro-batch; threads, not cores.
MASTER = "local[8]"
#: Long-lived: it pays to let the JVM optimise.
JVM = "-XX:+UseSerialGC"
ALIVE_SECONDS = 60.0


def stream(stack: Stack, use_case: str = "") -> Server:
    """The streaming job of a use case, of the first one by default."""
    streamed = use_case or stack.first_use_case
    name = stack.server_of(KIND, streamed)
    return Server(
        name=name,
        address=f"{stack.ports.address('kafka')} (topics)",
        needs=("s3", "kafka"),
        command=_command(stack, streamed),
        env=_env(stack, streamed),
        prepare=lambda: _checkpoints(stack, streamed).mkdir(mode=0o700, exist_ok=True),
        probe=lambda: _probe(stack, streamed),
        on_demand=True,
        start_limit_s=600,  # two queries over a cold JVM: minutes where the cores are shared
        stop_as_group=True,
    )


def _command(stack: Stack, use_case: str) -> tuple[str, ...]:
    job = stack.layout.repo / "include" / "spark_jobs" / "stream.py"
    options = ("--master", MASTER, "--driver-memory", "1g", "--driver-java-options", JVM)
    return (str(stack.layout.bin / "spark-submit"), *options, str(job), "--use-case", use_case)


def _checkpoints(stack: Stack, use_case: str) -> Path:
    """A use case's own folder, in whatever order a stack has them: another's checkpoints would name other topics."""
    return stack.layout.data / (KIND if use_case == DEFAULT_USE_CASE else f"{KIND}-{use_case}")


def _env(stack: Stack, use_case: str) -> dict[str, str]:
    return {
        **process_env(stack),
        "LAMBDA_DL_CHECKPOINTS": str(_checkpoints(stack, use_case)),
        "LAMBDA_DL_DIE_WITH_PARENT": "1",
    }


def _probe(stack: Stack, use_case: str) -> None:
    """The job touches a file in its checkpoint folder while both queries are active."""
    alive = _checkpoints(stack, use_case) / "alive"
    started = (stack.layout.run / f"{stack.server_of(KIND, use_case)}.sh").stat().st_mtime
    if not alive.is_file() or alive.stat().st_mtime < max(started, time.time() - ALIVE_SECONDS):
        raise ConnectionError("the streaming job has not said that its queries run")
