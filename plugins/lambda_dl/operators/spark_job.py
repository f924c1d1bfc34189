"""Runs one of ``include/spark_jobs`` through spark-submit, and lets it outlive its task in no case.

The provider's operator does the submitting; added here: endpoints and secrets go into the driver's environment at
run time (never into a template field, an argument or XCom), and the driver's whole process group dies with the task.
Errors of the data, by the names of their exceptions, are not tried again.
"""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any, NoReturn

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from lambda_dl.connections import KAFKA, METASTORE, MYSQL, S3, SPARK, extra_of, read_environment
from lambda_dl.deployment import REPOSITORY

#: Exceptions that end a job because of what it was given: repeating it gives the same answer.
DATA_ERRORS = ("LandingFileChanged", "LandingHeaderWrong", "BookMismatch", "SettingError", "TopicShorter")
STARTED_AT_KEY = "started_at_ms"
GRACE_SECONDS = 20
PR_SET_PDEATHSIG = 1
#: What a batch job talks to; it gets no other secret.
JOB_CONNECTIONS = (S3, KAFKA, MYSQL, METASTORE)


class SparkJobOperator(SparkSubmitOperator):
    """Run ``include/spark_jobs/<job>.py --use-case U [--from D --to D] --run-id R``.

    ``first`` and ``last`` are templates; a job that chooses its days itself gets neither. ``arguments`` are the job's
    own, by name, templates too. Spark's settings are those of the connection's extra: ``conf``, and from as many days
    on as ``long_spans`` says its ``conf`` too. Pushes the time at which it began to XCom (milliseconds since the
    epoch): a sensor need not look at messages from before.
    """

    template_fields = (*SparkSubmitOperator.template_fields, "first", "last")

    def __init__(
        self,
        *,
        job: str,
        use_case: str,
        first: str | None = None,
        last: str | None = None,
        arguments: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        span = ["--from", first, "--to", last] if first and last else []
        # One word each: a value that is empty or begins with a dash stays a value.
        own = [f"--{name}={value}" for name, value in (arguments or {}).items()]
        super().__init__(
            application=str(REPOSITORY / "include" / "spark_jobs" / f"{job}.py"),
            application_args=["--use-case", use_case, *span, *own, "--run-id", "{{ run_id }}"],
            conn_id=SPARK,
            name=f"{use_case}_{job}",
            **kwargs,
        )
        self.job = job
        self.use_case = use_case
        self.first = first
        self.last = last
        self.environment = dict(environment or {})

    def _get_hook(self) -> SparkSubmitHook:
        hook: SparkSubmitHook = super()._get_hook()
        if hook._connection["deploy_mode"] == "cluster":
            raise AirflowFailException(
                "connection lambda_dl_spark asks for deploy-mode cluster: secrets would become arguments; use client"
            )
        # The hook's own env_vars end up as --conf arguments on YARN and Kubernetes; this is the process environment.
        hook._env = {
            **read_environment(*JOB_CONNECTIONS, use_case=self.use_case),
            **self.environment,
            **driver_environment(),
        }
        # Where a deployment keeps its jars and how much memory it has is the connection's business.
        hook._conf = {**settings_for(extra_of(SPARK), self._days()), **(self.conf or {})}
        return hook

    def _days(self) -> int:
        """Over how many days the job goes; 0 where it chooses them itself."""
        if not (self.first and self.last):
            return 0
        return (date.fromisoformat(self.last) - date.fromisoformat(self.first)).days + 1

    def execute(self, context: Any) -> None:
        """Submit and follow to the end; raises ``AirflowFailException`` if the job says its data are wrong."""
        context["ti"].xcom_push(key=STARTED_AT_KEY, value=int(datetime.now(UTC).timestamp() * 1000))
        self._hook = self._get_hook()
        try:
            # A process group of its own, so that on_kill reaches the JVM, the Python driver and its workers.
            self._hook.submit(self.application, start_new_session=True, preexec_fn=_die_with_parent())
        except AirflowException as error:
            self._raise(error)

    def _raise(self, error: AirflowException) -> NoReturn:
        if data_error(str(error)):
            raise AirflowFailException(str(error)) from error
        raise error

    def on_kill(self) -> None:
        """End the driver's process group: first asked, then forced."""
        process = self._hook._submit_sp if self._hook else None
        if process is not None and process.poll() is None:
            self.log.info("Stopping Spark job %s (process group %s)", self.job, process.pid)
            end_process_group(process)


def settings_for(extra: Mapping[str, Any], days: int) -> dict[str, str]:
    """Spark's settings for a job over so many days, by the connection's extra; raises ``AirflowFailException``."""
    conf, long_spans = extra.get("conf", {}), extra.get("long_spans")
    if not long_spans:
        return {**conf}
    try:
        return {**conf, **long_spans["conf"]} if days >= int(long_spans["days"]) else {**conf}
    except (KeyError, TypeError, ValueError) as error:
        raise AirflowFailException(
            f"connection {SPARK}: its extra long_spans is {long_spans!r}; it needs days, a whole number, and conf, "
            "Spark's settings for a job over so many days"
        ) from error


def driver_environment() -> dict[str, str]:
    """What a driver needs besides endpoints and secrets: our modules, and the order to end when its task is gone."""
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH", ""))))
    return {"LAMBDA_DL_DIE_WITH_PARENT": "1", "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _die_with_parent() -> Callable[[], None]:
    """To be called in the new process: the kernel then kills it at once when this one ends, however it ends."""
    libc = ctypes.CDLL(None)

    def ask_kernel() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))

    return ask_kernel


def data_error(message: str) -> bool:
    """Whether the end of a driver's output is the traceback of one of ``DATA_ERRORS``."""
    return re.search(rf"^(?:[\w.]*\.)?(?:{'|'.join(DATA_ERRORS)}): ", message, re.MULTILINE) is not None


def end_process_group(process: "subprocess.Popen[Any]", grace: float = GRACE_SECONDS) -> None:
    """Terminate the process group that ``process`` leads, and kill what is left of it after ``grace`` seconds."""
    _signal_group(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    _signal_group(process.pid, signal.SIGKILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
