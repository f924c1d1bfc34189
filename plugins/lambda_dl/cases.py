"""The use cases of one deployment: the ids of their DAGs, the assets that join those, and whose a run is.

Each DAG file makes one DAG for each use case. The first one's DAGs are called as the files are, every other's
``<file>__<use case>``: so a run's use case follows from its DAG's id alone.

``raw`` and ``features`` are partitioned by day; ``candidate``, ``champion``, ``warehouse`` and ``serving`` are not.
"""

from dataclasses import dataclass

from airflow.sdk import Asset, get_current_context

from include.use_cases import SEPARATOR
from lambda_dl.deployment import DEPLOYMENT


@dataclass(frozen=True)
class Case:
    """One use case of the deployment by its name; ``suffix`` is what the ids of its DAGs end with."""

    name: str
    suffix: str = ""

    def dag_id(self, stem: str) -> str:
        """The id of its DAG from the file called ``stem``."""
        return f"{stem}{self.suffix}"

    @property
    def is_first(self) -> bool:
        """Whether its DAGs are called as the files are."""
        return not self.suffix

    @property
    def raw(self) -> Asset:
        """Ingested days."""
        return self._asset("raw", f"s3://lake/{self.name}/raw")

    @property
    def features(self) -> Asset:
        """Preprocessed days."""
        return self._asset("features", f"s3://lake/{self.name}/features")

    @property
    def candidate(self) -> Asset:
        """Trained bundles."""
        return self._asset("candidate", f"s3://models/{self.name}/bundles")

    @property
    def champion(self) -> Asset:
        """Lines of the ledger that the speed service has confirmed."""
        return self._asset("champion", f"s3://models/{self.name}/ledger")

    @property
    def warehouse(self) -> Asset:
        """Loaded metrics."""
        return self._asset("warehouse", f"s3://lake/{self.name}/runtime_metrics")

    @property
    def serving(self) -> Asset:
        """Refreshed tables of MySQL."""
        return self._asset("serving", f"lambda-dl://serving/{self.name}")

    def _asset(self, what: str, uri: str) -> Asset:
        return Asset(f"{self.name}_{what}", uri=uri, group=self.name)


FIRST = Case(DEPLOYMENT.use_case)
CASES = (FIRST, *(Case(name, f"{SEPARATOR}{name}") for name in DEPLOYMENT.use_cases[1:]))


def case_of(dag_id: str) -> Case:
    """Whose DAG this is; raises ``ValueError`` for an id that no use case of the deployment has."""
    _, separator, name = dag_id.partition(SEPARATOR)
    if not separator:
        return FIRST
    for case in CASES:
        if case.suffix == SEPARATOR + name:
            return case
    raise ValueError(f"DAG {dag_id!r} is of no use case of this deployment: {[case.name for case in CASES]}")


def case_now() -> Case:
    """Whose run the running task is part of."""
    return case_of(get_current_context()["ti"].dag_id)
