"""Every bucket, table and topic by name, in the order in which data flows through them. The data-flow map.

    landing files -> raw_<source> | quarantine_<source> -> tiles -> features, labels -> bundles -> ledger
                  -> Hive tables, MySQL tables; Kafka topics announce and broadcast along the way
    source topics -> tiles topic; queries -> prepared_queries -> predictions | rejected
                  -> predictions -> model_quality (live), data_quality (parity)
    features, labels -> statistics; what is late or wrong -> alerts

Names only: it does not know how anything is read or written, and no domain (a use case passes its name).
"""

import os
from dataclasses import dataclass
from datetime import date

#: Before every bucket's name, where a store's names are shared by all the world (AWS): `LAMBDA_DL_BUCKET_PREFIX`.
BUCKET_PREFIX = os.environ.get("LAMBDA_DL_BUCKET_PREFIX", "")
LANDING_BUCKET = f"{BUCKET_PREFIX}landing"
LAKE_BUCKET = f"{BUCKET_PREFIX}lake"
MODELS_BUCKET = f"{BUCKET_PREFIX}models"
SUCCESS_MARKER = "_SUCCESS"
#: The landing folder of the reference tables, beside those of the sources.
REFERENCES = "references"

#: Small tables, written with delta-rs by many writers; big ones are written by one Spark job each.
SMALL_TABLES = (
    "landing_files",
    "book",
    "training_runs",
    "model_quality",
    "runtime_metrics",
    "data_quality",
    "ledger",
    "alerts",
    "retractions",
)


def landing_prefix(use_case: str, source: str, day: date) -> str:
    """The key prefix of one source's landing folder for one day, ending in ``/``."""
    return f"{use_case}/{source}/ds={day.isoformat()}/"


def reference_key(use_case: str, reference: str) -> str:
    """The landing key of a reference table (gzipped CSV with a header)."""
    return f"{use_case}/{REFERENCES}/{reference}.csv.gz"


@dataclass(frozen=True)
class Lake:
    """The Delta tables of one use case; ``scheme`` is ``s3a`` for Spark and ``s3`` for delta-rs."""

    use_case: str

    def path(self, table: str, scheme: str = "s3a") -> str:
        """The location of a table."""
        return f"{scheme}://{LAKE_BUCKET}/{self.use_case}/{table}"

    def name(self, table: str) -> str:
        """The table's name in the Hive metastore."""
        return f"{self.use_case}.{table}"


@dataclass(frozen=True)
class Models:
    """Keys in the models bucket: immutable bundles, the append-only ledger, and why candidates were refused."""

    use_case: str

    @property
    def bundles_prefix(self) -> str:
        """The key prefix of all bundles, ending in ``/``."""
        return f"{self.use_case}/bundles/"

    def bundle_prefix(self, model_id: str) -> str:
        """The key prefix of one bundle, ending in ``/``."""
        return f"{self.bundles_prefix}{model_id}/"

    @property
    def ledger_prefix(self) -> str:
        """The key prefix of the ledger's numbered lines, ending in ``/``."""
        return f"{self.use_case}/ledger/"

    @property
    def refusals_prefix(self) -> str:
        """The key prefix of the gate's refusals, ending in ``/``."""
        return f"{self.use_case}/refusals/"

    def refusal_key(self, model_id: str, run_id: str) -> str:
        """Why one run refused one candidate."""
        return f"{self.refusals_prefix}{model_id}/{run_id}.json"

    def search_prefix(self, run_id: str) -> str:
        """Where one training run keeps its checkpoints and its result, ending in ``/``."""
        return f"{self.use_case}/searches/{run_id}/"


#: The topics of every use case beside one for each of its sources, by the ends of their names.
OWN_TOPICS = ("queries", "prepared_queries", "predictions", "rejected", "tiles", "models", "metrics", "batch_events")


@dataclass(frozen=True)
class Topics:
    """The Kafka topics of one use case; facts of a source have the topic ``<use_case>.<source>``."""

    use_case: str

    def facts(self, source: str) -> str:
        """The topic on which one source's facts arrive."""
        return f"{self.use_case}.{source}"

    @property
    def queries(self) -> str:
        """Queries from clients."""
        return f"{self.use_case}.queries"

    @property
    def prepared_queries(self) -> str:
        """Queries that Spark has judged and joined with the references, for the speed service."""
        return f"{self.use_case}.prepared_queries"

    @property
    def predictions(self) -> str:
        """Answers to queries, with the features they were made from."""
        return f"{self.use_case}.predictions"

    @property
    def rejected(self) -> str:
        """Facts and queries that were not taken, each with its reason."""
        return f"{self.use_case}.rejected"

    @property
    def tiles(self) -> str:
        """Open tiles and each source's progress, from the streaming job (compacted)."""
        return f"{self.use_case}.tiles"

    @property
    def models(self) -> str:
        """Promotions: a model's reference, for the speed service (compacted)."""
        return f"{self.use_case}.models"

    @property
    def metrics(self) -> str:
        """Training, model-quality, data-quality and run-time metrics, and the speed service's receipts."""
        return f"{self.use_case}.metrics"

    @property
    def batch_events(self) -> str:
        """Announcements of finished days by the batch layer's Spark workers."""
        return f"{self.use_case}.batch_events"
