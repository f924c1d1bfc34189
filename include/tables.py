"""The Delta tables of a use case: columns, types and comments, for the Hive metastore and for delta-rs.

Declarations only. Raw and quarantine tables follow from a source's contract, the features table from the feature
set; the rest are the same for every use case. It does not know how a table is written.
"""

from dataclasses import dataclass

from include.contracts.contract import Contract, FieldType
from include.target import Metric, Target, validated
from include.use_case import UseCase

SPARK_TYPES: dict[FieldType, str] = {
    "string": "string",
    "integer": "bigint",
    "double": "double",
    "timestamp": "timestamp",
}
FEATURE_TYPES = {"numeric": "double", "categorical": "string"}


@dataclass(frozen=True)
class Column:
    """One column: its name, Spark SQL type and what it means."""

    name: str
    type: str
    comment: str


@dataclass(frozen=True)
class Table:
    """One table, partitioned by ``ds`` (its last column). ``key`` identifies a row in the small tables."""

    name: str
    comment: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()


DS = Column("ds", "string", "UTC day, YYYY-MM-DD")
RUN_ID = Column("run_id", "string", "The Airflow run that wrote this row")
TIME = Column("time", "timestamp", "When this was measured, UTC")
METRIC_ID = Column("metric_id", "string", "Identity of the message; a repeat has the same")
LANDED = (
    Column("landing_key", "string", "Landing file that the row came in"),
    Column("landing_sha256", "string", "SHA-256 of that file as landed"),
    Column("landing_line", "bigint", "Data row within that file, from 1"),
    Column("contract_version", "int", "Version of the contract that judged the row"),
    RUN_ID,
    DS,
)


def raw_table(contract: Contract) -> Table:
    """The table of a source's accepted facts; append-only."""
    facts = tuple(Column(field.name, SPARK_TYPES[field.type], field.comment) for field in contract.fields)
    times = (
        Column("available_at", "timestamp", "When the fact could first be known, UTC"),
        Column("moment", "timestamp", "The later of event time and availability, UTC; decides the tile"),
    )
    comment = f"{contract.comment}; ds is the day of availability"
    return Table(f"raw_{contract.name}", comment, (*facts, *times, *LANDED), (contract.key,))


def quarantine_table(contract: Contract) -> Table:
    """The table of a source's rejected rows, with reasons; append-only."""
    row = (
        Column("record", "string", "The row as it landed, as a JSON object of texts"),
        Column("reasons", "array<string>", "Why the contract rejected it"),
    )
    return Table(f"quarantine_{contract.name}", f"Rejected rows of {contract.name}", (*row, *LANDED))


TILES = Table(
    "tiles",
    "One minute of one source for one key",
    (
        Column("tile", "string", "Kind of tile"),
        Column("key", "string", "Key fields joined with |"),
        Column("minute", "timestamp", "Start of the minute, UTC"),
        Column("values", "array<bigint>", "The tile's measures, in the order of its declaration"),
        RUN_ID,
        DS,
    ),
)

LABELS = Table(
    "labels",
    "Outcomes of the subjects of each closed day",
    (
        Column("subject_id", "string", "The subject"),
        Column("label", "int", "1 = the predicted event happened; where something is counted, how many there were"),
        Column("outcome", "string", "What happened, in the words of the use case"),
        RUN_ID,
        DS,
    ),
)


def _feature_columns(use_case: UseCase) -> tuple[Column, ...]:
    return tuple(Column(f.name, FEATURE_TYPES[f.kind], f.comment) for f in use_case.features.features)


def features_table(use_case: UseCase) -> Table:
    """One row per subject with its features as of its default prediction time."""
    return Table(
        "features",
        "Features of each subject at its default prediction time",
        (
            Column("subject_id", "string", "The subject"),
            Column("prediction_time", "timestamp", "Nothing known later than this entered the row, UTC"),
            *_feature_columns(use_case),
            Column("features_hash", "string", "Hash of the feature definition"),
            RUN_ID,
            DS,
        ),
    )


def predictions_table(use_case: UseCase) -> Table:
    """Every answer of the speed service with the features it was made from; append-only."""
    return Table(
        "predictions",
        "Every prediction served, with its features as they were; ds is the day of the prediction time",
        (
            Column("id", "string", "The subject"),
            Column("prediction_time", "timestamp", "The moment that the prediction speaks from, UTC"),
            Column("predicted_at", "timestamp", "When the answer was given, UTC"),
            Column("model_id", "string", "The bundle that answered"),
            Column("sequence", "bigint", "Line of the ledger that made it champion"),
            Column(use_case.target.answer, "double", use_case.target.answer_comment),
            Column("degraded", "boolean", "A source was silent for too long, or its windows had a hole"),
            Column("via", "string", "kafka or http"),
            Column("as_of", "map<string,timestamp>", "Per source, the minute before which it was visible; null: none"),
            # Before the features: Delta knows the least and greatest values of a file's first 32 columns alone.
            Column("kafka_partition", "int", "Where the message lies on the predictions topic"),
            Column("kafka_offset", "bigint", "Where in that partition"),
            *_feature_columns(use_case),
            Column("features_hash", "string", "Hash of the feature definition"),
            RUN_ID,
            DS,
        ),
    )


LANDING_FILES = Table(
    "landing_files",
    "Every landing file ever ingested, by content hash",
    (
        Column("source", "string", "Source"),
        Column("landing_key", "string", "Object key in the landing bucket"),
        Column("landing_sha256", "string", "SHA-256 of the object as landed"),
        Column("bytes", "bigint", "Size of the object"),
        Column("rows", "bigint", "Data rows read from it"),
        Column("ingested", "bigint", "Rows accepted into raw"),
        Column("quarantined", "bigint", "Rows rejected into quarantine"),
        Column("duplicate", "bigint", "Rows equal to a fact already known"),
        RUN_ID,
        Column("ingested_at", "timestamp", "When it was ingested, UTC"),
        DS,
    ),
    ("ds", "landing_key"),
)

BOOK = Table(
    "book",
    "What came in and went out of each stage, per day and source",
    (
        Column("stage", "string", "ingest, preprocess, labels or scoring"),
        Column("source", "string", "Source, or the table that the stage wrote"),
        Column("landed", "bigint", "Rows that came in"),
        Column("ingested", "bigint", "Rows that went on"),
        Column("quarantined", "bigint", "Rows rejected, with reasons"),
        Column("duplicate", "bigint", "Rows already known"),
        Column("closed", "boolean", "Whether the book balances and is closed"),
        Column("detail", "string", "What differed, when it does not balance"),
        Column("closed_at", "timestamp", "When it was closed, UTC"),
        RUN_ID,
        DS,
    ),
    ("ds", "stage", "source"),
)

TRAINING_RUNS = "training_runs"
MODEL_QUALITY = "model_quality"


def training_runs_table(target: Target) -> Table:
    """The trials of the searches."""

    def figure(metric: Metric) -> Column:
        return Column(validated(metric), "double", f"On the validation days: {metric.comment}")

    return Table(
        TRAINING_RUNS,
        "One row per trial of a training run",
        (
            METRIC_ID,
            TIME,
            Column("trial_id", "string", "Trial of the search"),
            Column("status", "string", "finished, stopped (by the scheduler) or failed"),
            Column("config", "string", "Hyper-parameters, JSON"),
            Column("epochs", "double", "Epochs trained; a trial may be given up after half of one"),
            figure(target.skill),
            figure(target.loss),
            Column("seconds", "double", "Wall time of the trial"),
            RUN_ID,
            DS,
        ),
        ("metric_id",),
    )


def model_quality_table(target: Target) -> Table:
    """How good models and rivals are."""
    return Table(
        MODEL_QUALITY,
        "Quality of a model, or of a rival: on held-out days, and live on the days it has answered",
        (
            METRIC_ID,
            TIME,
            Column("model_id", "string", "The bundle; empty for a rival"),
            Column("role", "string", "candidate, champion, base_rate, lightgbm or live"),
            Column("split", "string", "validation, test or live"),
            Column("from_ds", "string", "First day of the split"),
            Column("to_ds", "string", "Last day of the split"),
            Column("hour", "timestamp", "Start of the hour of the prediction time, UTC; null: the whole span"),
            Column("rows", "bigint", "Labelled subjects"),
            *(Column(metric.name, "double", metric.comment) for metric in target.metrics),
            RUN_ID,
            DS,
        ),
        ("metric_id",),
    )


RUNTIME_METRICS = Table(
    "runtime_metrics",
    "Run-time metrics of the batch layer and the speed service",
    (
        METRIC_ID,
        TIME,
        Column("instance", "string", "Process that measured it"),
        Column("name", "string", "Metric, Prometheus style"),
        Column("value", "double", "Value"),
        RUN_ID,
        DS,
    ),
    # A report has its moment in its identity. A receipt has not: that a model is loaded again on another day is another
    # row. A message that Kafka delivers twice has the same day.
    ("metric_id", "ds"),
)

DATA_QUALITY = Table(
    "data_quality",
    "Shares and counts per source and day",
    (
        METRIC_ID,
        TIME,
        Column("source", "string", "Source"),
        Column("dimension", "string", "validity, completeness, ..."),
        Column("value", "double", "Share from 0 to 1"),
        RUN_ID,
        DS,
    ),
    # The identity names the day.
    ("metric_id", "ds"),
)

LEDGER = Table(
    "ledger",
    "Copy of the ledger of promotions",
    (
        Column("sequence", "bigint", "Line number"),
        TIME,
        Column("event", "string", "promoted or rolled_back"),
        Column("model_id", "string", "The champion from here on"),
        Column("parent_id", "string", "The champion before"),
        Column("actor", "string", "Who"),
        Column("reason", "string", "Why"),
        RUN_ID,
        DS,
    ),
    ("sequence",),
)

ALERTS = Table(
    "alerts",
    "What somebody was told: a late day, a threshold broken, a stale refresh, a failed task, a missed deadline",
    (
        Column("alert_id", "string", "Identity of what is wrong; told once"),
        TIME,
        Column("kind", "string", "day_late, quality, refresh_stale, task_failed or deadline_missed"),
        Column("subject", "string", "What it is about: a DAG and task, a source and dimension, a table"),
        Column("message", "string", "What is wrong, for people"),
        RUN_ID,
        DS,
    ),
    ("alert_id",),
)

RETRACTIONS = Table(
    "retractions",
    "Landing files whose facts were withdrawn or restored; append-only, the newest event of a file counts",
    (
        Column("retraction_id", "string", "Identity of the event; a repeat has the same"),
        TIME,
        Column("event", "string", "retracted or restored"),
        Column("source", "string", "Source"),
        Column("landing_key", "string", "Landing file whose facts it is about"),
        Column("reason", "string", "Why"),
        Column("actor", "string", "Who"),
        RUN_ID,
        DS,
    ),
    ("retraction_id",),
)

STATISTICS = Table(
    "statistics",
    "Inference over the archive: shares with intervals, differences with tests, drift; ds is the last day looked at",
    (
        Column("statistic", "string", "share (of one value of a feature against the rest), change or drift"),
        Column("feature", "string", "The feature whose values are compared"),
        Column("value", "string", "One of its values; null: the feature as a whole (drift)"),
        Column("from_ds", "string", "First day looked at"),
        Column("to_ds", "string", "Last day looked at"),
        Column("base_from_ds", "string", "First day of what it is compared with"),
        Column("base_to_ds", "string", "Last day of what it is compared with"),
        Column("days", "bigint", "Days with rows; the unit of the test"),
        Column("rows", "bigint", "Labelled subjects"),
        Column("positives", "bigint", "Sum of the labels: those with label 1, or how many there were in all"),
        Column("share", "double", "positives / rows"),
        Column("share_low", "double", "Lower end of the share's 95 % Wilson interval; null for counts"),
        Column("share_high", "double", "Upper end of the share's 95 % Wilson interval; null for counts"),
        Column("base_share", "double", "The share of what it is compared with"),
        Column("difference", "double", "share - base_share"),
        Column("difference_low", "double", "Lower end of its 95 % interval, days as clusters"),
        Column("difference_high", "double", "Upper end of its 95 % interval, days as clusters"),
        Column("psi", "double", "Population stability index (drift)"),
        Column("p_value", "double", "Two-sided; days as clusters (share, change)"),
        Column(
            "q_value", "double", "p_value after Benjamini-Hochberg, over the rows of the same statistic and feature"
        ),
        RUN_ID,
        DS,
    ),
)


def small_tables(target: Target) -> tuple[Table, ...]:
    """The tables that anybody writes through delta-rs."""
    measured = training_runs_table(target), model_quality_table(target)
    return (LANDING_FILES, BOOK, *measured, RUNTIME_METRICS, DATA_QUALITY, LEDGER, ALERTS, RETRACTIONS)


def all_tables(use_case: UseCase) -> tuple[Table, ...]:
    """Every table of a use case, in the order of the data flow."""
    raw = tuple(raw_table(contract) for contract in use_case.sources)
    quarantine = tuple(quarantine_table(contract) for contract in use_case.sources)
    made = features_table(use_case), LABELS, predictions_table(use_case), STATISTICS
    return (*raw, *quarantine, TILES, *made, *small_tables(use_case.target))


def tables_by_writer(use_case: UseCase) -> dict[str, tuple[str, ...]]:
    """The tables' names by who writes them: one Spark job each, or (``small``) anybody through delta-rs."""
    raw = tuple(table.name for c in use_case.sources for table in (raw_table(c), quarantine_table(c)))
    features = (TILES.name, features_table(use_case).name, LABELS.name)
    return {
        "raw": raw,
        "features": features,
        "predictions": (predictions_table(use_case).name,),
        "statistics": (STATISTICS.name,),
        "small": tuple(table.name for table in small_tables(use_case.target)),
    }
