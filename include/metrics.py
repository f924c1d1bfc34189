"""Kafka metrics -> Hive tables, exactly once: consume, validate, merge by identity, read back through HiveServer2.

Every message has a ``metric_id``; a row is inserted only if the table lacks it, so a second delivery, a second run and
a crash in between change nothing. The ledger's lines in S3 are copied the same way. After the merge the tables must
have every identity; reading back then compares HiveServer2 with the tables, without the topic. It does not know what
the metrics mean nor who measured them.
"""

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from itertools import chain
from math import isfinite
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from pyhive import hive

from include import lake
from include.landing import object_sizes, s3_client
from include.locations import MODELS_BUCKET, Models, Topics
from include.settings import READS_GROUP, HiveSettings, KafkaSettings
from include.tables import (
    DATA_QUALITY,
    LEDGER,
    RUNTIME_METRICS,
    Column,
    Table,
    model_quality_table,
    training_runs_table,
)
from include.target import BINARY, Target, validated

log = logging.getLogger(__name__)

#: Columns that a message may leave out, besides those of ``_may_lack``.
OPTIONAL = frozenset({"model_id", "config", "epochs", "seconds", "instance", "hour"})
#: Run-time metrics by which a speed service, or the gate, says what became of a model.
RECEIPTS = frozenset({"model_loaded", "model_rejected"})
#: Messages that are merged, and count as taken, together: so many rows are in memory, however many wait.
MESSAGES_TOGETHER = 100_000
#: Rows whose identities are compared with HiveServer2's at a time; a day is not divided.
ROWS_COMPARED = 300_000
TIMEOUT_SECONDS = 60.0
ASK_AGAIN_SECONDS = 0.5
NO_COORDINATOR_YET = frozenset(
    {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS}
)


@cache
def tables_by_kind(target: Target) -> Mapping[str, Table]:
    """The table of each kind of message; made once, since it is asked for with every message."""
    return {
        "training_run": training_runs_table(target),
        "model_quality": model_quality_table(target),
        "runtime": RUNTIME_METRICS,
        "model_loaded": RUNTIME_METRICS,
        "model_rejected": RUNTIME_METRICS,
        "data_quality": DATA_QUALITY,
    }


@cache
def _may_lack(target: Target) -> frozenset[str]:
    return OPTIONAL | {validated(target.skill), validated(target.loss), target.skill.name}


class LoadIncomplete(ValueError):
    """A table lacks rows that were merged into it; the message names tables, days and differences."""


class ReadBackMismatch(ValueError):
    """HiveServer2 does not show what was loaded; the message names tables, days and differences."""


@dataclass
class Merged:
    """What was merged together: identities by table and day, and rows newly inserted by table."""

    identities: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    inserted: dict[str, int] = field(default_factory=dict)

    def add(self, table: Table, rows: Sequence[Mapping[str, Any]], inserted: int) -> None:
        """Note that these rows are in the table now."""
        days = self.identities.setdefault(table.name, {})
        for row in rows:
            days.setdefault(str(row["ds"]), set()).add(str(row[table.key[0]]))
        self.inserted[table.name] = self.inserted.get(table.name, 0) + inserted


@dataclass
class Loaded:
    """What a load found: days by table, rows newly inserted by table, how many messages, and how many of them rejected.

    Of each part that was merged it keeps no more than that.
    """

    found: dict[str, set[str]] = field(default_factory=dict)
    inserted: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    rejected: int = 0

    def add(self, part: Merged) -> None:
        """Note that this part is in the tables now."""
        self.inserted.update(part.inserted)
        for table, days in part.identities.items():
            self.found.setdefault(table, set()).update(days)

    def days(self) -> dict[str, list[str]]:
        """The days of each table that metrics were found of."""
        return {table: sorted(days) for table, days in self.found.items() if days}


def data_quality_id(use_case: str, ds: str, source: str, dimension: str, value: float) -> str:
    """The identity of a data-quality metric: measured again with the same result it is the same metric."""
    return f"data_quality/{use_case}/{ds}/{source}/{dimension}/{value:.9g}"


def typed_value(column: Column, value: object) -> Any:
    """A JSON value as the column's type; raises ``ValueError`` naming the column if it is not one."""
    if value is None:
        return None
    try:
        if column.type == "timestamp":
            return moment_of(str(value))
        if column.type == "string":
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            text.encode()  # half of a surrogate pair is no text
            return text
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError("not a number")
        number = float(value) if column.type == "double" else int(value)
        if not (isfinite(number) if column.type == "double" else -(2**63) <= number < 2**63):
            raise ValueError("not a number that a table holds")
        return number
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{column.name}: {value!r} is not a {column.type}") from error


def moment_of(text: str) -> datetime:
    """An RFC 3339 time as a datetime in UTC; raises ``ValueError`` without a time zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(UTC)


def metric_row(message: Mapping[str, Any], use_case: str, target: Target) -> tuple[Table, dict[str, Any]]:
    """The table and row of one metrics message; raises ``ValueError`` that says which field is wrong."""
    tables = tables_by_kind(target)
    table = tables.get(str(message.get("kind")))
    if table is None:
        raise ValueError(f"kind: {message.get('kind')!r} is not one of {', '.join(tables)}")
    if message.get("use_case", use_case) != use_case:
        raise ValueError(f"use_case: {message['use_case']!r} is not {use_case!r}")
    values = receipt_values(message) if message["kind"] in RECEIPTS else message
    row = {column.name: typed_value(column, values.get(column.name)) for column in table.columns}
    missing = [name for name, value in row.items() if value is None and name not in _may_lack(target)]
    if missing:
        raise ValueError(f"{', '.join(missing)}: required")
    date.fromisoformat(row["ds"])
    return table, row


def receipt_values(message: Mapping[str, Any]) -> dict[str, Any]:
    """A speed service's receipt as a run-time metric: which ledger sequence it has loaded or rejected."""
    return {**message, "name": message["kind"], "value": message.get("sequence", 0)}


def parse_message(value: bytes | None, use_case: str, target: Target) -> tuple[Table, dict[str, Any]]:
    """Like ``metric_row``, from the bytes of a Kafka message."""
    try:
        message = json.loads(value or b"")
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise ValueError("is not a JSON object")
    return metric_row(message, use_case, target)


Messages = list[tuple[int, int, bytes | None]]


def consume(kafka: KafkaSettings, topic: str) -> Messages:
    """Everything on a topic from its beginning to its end now: (partition, offset, value).

    It depends on nobody's position, and leaves none; raises ``KafkaException``.
    """
    consumer = _consumer(kafka, READS_GROUP)
    try:
        positions = dict.fromkeys(_partitions(consumer, topic), OFFSET_BEGINNING)
        return list(chain.from_iterable(_read(consumer, topic, positions)))
    finally:
        consumer.close()


def unread(kafka: KafkaSettings, topic: str, group: str, again: bool = False) -> Generator[Messages, None, None]:
    """What is on a topic beyond what ``group`` has taken (``again``: all of it), up to its end now, in parts.

    A part counts as taken when the next one, or the end, is asked for: what is done with it must bear a repeat. Kafka
    forgets a group that has taken nothing for a week (``offsets.retention.minutes``); then all is read again.
    """
    consumer = _consumer(kafka, group)
    try:
        positions = dict.fromkeys(_partitions(consumer, topic), OFFSET_BEGINNING)
        if not again:
            asked = [TopicPartition(topic, number) for number in positions]
            known = _once_there(lambda: consumer.committed(asked, timeout=TIMEOUT_SECONDS))
            positions |= {part.partition: part.offset for part in known if part.offset >= 0}
        for part in _read(consumer, topic, positions):
            yield part
            _take(consumer, topic, part)
    finally:
        consumer.close()


def _take(consumer: Consumer, topic: str, messages: Messages) -> None:
    """Move the group's position behind these messages."""
    ends = {partition: offset + 1 for partition, offset, _ in messages}
    taken = [TopicPartition(topic, *end) for end in ends.items()]
    _once_there(lambda: consumer.commit(offsets=taken, asynchronous=False))


def _once_there(ask: Callable[[], list[TopicPartition]]) -> list[TopicPartition]:
    """Ask a group's coordinator; with a broker's first group of all, or after its death, it comes a moment later."""
    end = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in NO_COORDINATOR_YET or time.monotonic() > end:
                raise
            time.sleep(ASK_AGAIN_SECONDS)


def _consumer(kafka: KafkaSettings, group: str) -> Consumer:
    return Consumer(
        {
            **kafka.client(),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            # Of a topic that was made anew, too, where a position lies beyond its end.
            "auto.offset.reset": "earliest",
        }
    )


def _read(consumer: Consumer, topic: str, positions: Mapping[int, int]) -> Iterator[Messages]:
    """From the position of each partition to its end now, in parts of at most ``MESSAGES_TOGETHER``."""
    consumer.assign([TopicPartition(topic, *position) for position in positions.items()])
    return _drain(consumer, set(positions), topic)


def _partitions(consumer: Consumer, topic: str) -> set[int]:
    metadata = consumer.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic]
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    return set(metadata.partitions)


def _drain(consumer: Consumer, open_partitions: set[int], topic: str) -> Iterator[Messages]:
    """Poll until every partition has reported its end; no part is empty."""
    found: Messages = []
    while open_partitions:
        message = consumer.poll(TIMEOUT_SECONDS)
        if message is None:
            raise TimeoutError(f"Kafka sent nothing of topic {topic} for {TIMEOUT_SECONDS:.0f} s")
        error = message.error()
        if error is None:
            found.append((int(message.partition() or 0), int(message.offset() or 0), message.value()))
        elif error.code() == KafkaError._PARTITION_EOF:
            open_partitions.discard(int(message.partition() or 0))
        else:
            raise KafkaException(error)
        if len(found) == MESSAGES_TOGETHER:
            yield found
            found = []
    if found:
        yield found


def load_metrics(
    use_case: str,
    target: Target,
    kafka: KafkaSettings | None = None,
    client: Any = None,
    again: bool = False,
) -> Loaded:
    """Merge what is new on the metrics topic (``again``: all of it), and the ledger, into the Hive tables.

    Returns what of it is there now. A part of it counts as taken from the topic only when the tables have it.
    """
    topic, group = Topics(use_case).metrics, f"{use_case}.load_metrics"
    loaded = Loaded()
    with closing(unread(kafka or KafkaSettings.from_environment(), topic, group, again)) as parts:
        for messages in parts:
            _load(use_case, target, messages, loaded)
    _merge_all(use_case, {LEDGER: ledger_rows(client or s3_client(), use_case)}, loaded)
    log.info("%d messages read, rows inserted: %s", loaded.messages, dict(loaded.inserted))
    return loaded


def _load(use_case: str, target: Target, messages: Messages, loaded: Loaded) -> None:
    rows: dict[Table, list[dict[str, Any]]] = {table: [] for table in tables_by_kind(target).values()}
    for partition, offset, value in messages:
        try:
            table, row = parse_message(value, use_case, target)
            rows[table].append(row)
        except ValueError as error:
            loaded.rejected += 1
            log.warning("metrics message at partition %d offset %d rejected: %s", partition, offset, error)
    _merge_all(use_case, rows, loaded)
    loaded.messages += len(messages)


def _merge_all(use_case: str, rows: Mapping[Table, list[dict[str, Any]]], loaded: Loaded) -> None:
    """Merge rows into their tables, and see that they are there."""
    part = Merged()
    for table, of_table in rows.items():
        merge(use_case, table, of_table, part)
    check_merged(use_case, part)
    loaded.add(part)


def merge(use_case: str, table: Table, rows: list[dict[str, Any]], merged: Merged) -> None:
    """Insert what the table lacks; of messages with one identity the newest counts.

    What was measured again with the same result is the same metric, but as of now: another result in between is older.
    Of the tables that hold many metrics ``ds`` is part of the key, so that no other days are read. A training's figures
    are few, and a retried run may send them again after midnight.
    """
    in_order = sorted(rows, key=lambda row: row["time"])
    newest = list({tuple(row[name] for name in table.key): row for row in in_order}.values())
    merged.add(table, newest, lake.merge_rows(use_case, table, newest, "newer"))


def ledger_rows(client: Any, use_case: str) -> list[dict[str, Any]]:
    """The ledger's lines as rows of the table ``ledger``; ``ds`` is the day of the line's time."""
    keys = object_sizes(client, MODELS_BUCKET, Models(use_case).ledger_prefix)
    return [
        ledger_row(json.loads(client.get_object(Bucket=MODELS_BUCKET, Key=key)["Body"].read()))
        for key in keys
        if key.endswith(".json")
    ]


def ledger_row(line: Mapping[str, Any]) -> dict[str, Any]:
    """One line of the ledger as a row."""
    ds = moment_of(str(line["time"])).date().isoformat()
    values = {"run_id": "", **line, "ds": ds}
    return {column.name: typed_value(column, values.get(column.name)) for column in LEDGER.columns}


def check_merged(use_case: str, merged: Merged) -> None:
    """Raise ``LoadIncomplete`` unless the tables have every identity that was merged into them, once."""
    problems: list[str] = []
    for table, days in merged.identities.items():
        if days:
            problems += differences(table, days, _identities_in_table(use_case, table, days))
    if problems:
        raise LoadIncomplete("; ".join(problems))


def read_back(use_case: str, days: Mapping[str, Sequence[str]], settings: HiveSettings | None = None) -> dict[str, int]:
    """Ask HiveServer2 for the rows of some tables' days and compare with the tables themselves.

    Returns rows seen by table; raises ``ReadBackMismatch``. What is loaded in the meantime may be shown already.
    """
    door = settings or HiveSettings.from_environment(os.environ)
    seen: dict[str, int] = {}
    problems: list[str] = []
    with hive.connect(host=door.host, port=door.port, username=door.user, database=use_case) as connection:
        for table, all_days in days.items():
            for wanted in lake.few_at_a_time(all_days, lake.rows_by_day(use_case, table), ROWS_COMPARED):
                there: dict[str, set[str]] = {}
                for ds, identity in _identities_in_table(use_case, table, wanted):
                    there.setdefault(ds, set()).add(identity)
                found = _identities_in_hive(connection, table, wanted)
                seen[table] = seen.get(table, 0) + sum(found.values())
                problems += differences(table, there, found)
    if problems:
        raise ReadBackMismatch("; ".join(problems))
    log.info("HiveServer2 shows everything that was loaded: %s", seen)
    return seen


#: The column that identifies a row, by table; the target makes no difference to it.
IDENTITY: Mapping[str, str] = {table.name: table.key[0] for table in (*tables_by_kind(BINARY).values(), LEDGER)}


def _identities_in_table(use_case: str, table: str, days: Iterable[str]) -> Counter[tuple[str, str]]:
    """Rows by (ds, identity) in the table itself."""
    columns = lake.dataset(use_case, table, days).to_table(columns=["ds", IDENTITY[table]])
    return Counter((str(ds), str(identity)) for ds, identity in zip(*columns.to_pydict().values(), strict=True))


def _identities_in_hive(connection: Any, table: str, days: Sequence[str]) -> Counter[tuple[str, str]]:
    """Rows by (ds, identity) that HiveServer2 shows for some days; ``ds`` values are passed as parameters."""
    cursor = connection.cursor()
    marks = ", ".join(["%s"] * len(days))
    cursor.execute(f"SELECT ds, {IDENTITY[table]} FROM {table} WHERE ds IN ({marks})", tuple(days))
    return Counter((str(ds), str(identity)) for ds, identity in cursor.fetchall())


def differences(table: str, wanted: Mapping[str, Iterable[str]], found: Mapping[tuple[str, str], int]) -> list[str]:
    """What is loaded but missing, or there more than once: one sentence per table and day."""
    problems = []
    for ds, identities in sorted(wanted.items()):
        missing = sorted(identity for identity in identities if not found.get((ds, identity)))
        if missing:
            problems.append(f"{table} {ds}: {len(missing)} loaded rows are missing, first {missing[0]}")
    for (ds, identity), count in sorted(found.items()):
        if count > 1:
            problems.append(f"{table} {ds}: {identity} is there {count} times")
    return problems
