"""Metrics messages: what is a row, what is rejected and why, and what reading back finds."""

import json
import math
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from deltalake import DeltaTable, write_deltalake

from include import lake, metrics
from include.metrics import (
    Merged,
    data_quality_id,
    differences,
    ledger_row,
    merge,
    metric_row,
    parse_message,
    typed_value,
)
from include.quality import newest_values
from include.settings import HiveSettings, KafkaSettings
from include.tables import DATA_QUALITY, RUNTIME_METRICS, Column, training_runs_table
from include.target import BINARY

QUALITY: dict[str, Any] = {
    "metric_id": "m1",
    "kind": "data_quality",
    "use_case": "house",
    "ds": "2013-01-01",
    "time": "2013-01-02T00:00:00Z",
    "run_id": "r",
    "source": "readings",
    "dimension": "validity",
    "value": 1,
}


def test_a_message_becomes_a_typed_row() -> None:
    table, row = metric_row(QUALITY, "house", BINARY)
    assert table is DATA_QUALITY
    assert row["value"] == 1.0
    assert row["time"].isoformat() == "2013-01-02T00:00:00+00:00"
    assert set(row) == {column.name for column in DATA_QUALITY.columns}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "gossip"}, "kind: 'gossip'"),
        ({"use_case": "garden"}, "use_case: 'garden'"),
        ({"metric_id": None}, "metric_id: required"),
        ({"value": "high"}, "value: 'high' is not a double"),
        ({"value": True}, "value: True is not a double"),
        ({"value": math.inf}, "value: inf is not a double"),
        ({"value": "nan"}, "value: 'nan' is not a double"),
        ({"value": 10**400}, "value: 1000"),
        ({"source": "\ud800"}, "source: "),
        ({"time": "2013-01-02T00:00:00"}, "time: "),
        ({"time": "9999-12-31T23:59:59-10:00"}, "time: "),
        ({"ds": "yesterday"}, "yesterday"),
    ],
)
def test_a_wrong_message_is_rejected_with_its_field(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        metric_row(QUALITY | change, "house", BINARY)


@pytest.mark.parametrize("value", [math.inf, 2**63, -(10**30), math.nan])
def test_a_count_that_no_table_holds_is_rejected(value: float) -> None:
    with pytest.raises(ValueError, match="is not a bigint"):
        typed_value(Column("rows", "bigint", ""), value)


@pytest.mark.parametrize("value", [None, b"", b"{", b"[1]", b"[" * 100_000])
def test_what_is_no_json_object_is_rejected(value: bytes | None) -> None:
    with pytest.raises(ValueError, match="JSON|nested too deeply"):
        parse_message(value, "house", BINARY)


def test_what_is_right_again_counts_as_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_deltalake(tmp_path, lake.arrow_schema(DATA_QUALITY).empty_table(), partition_by=["ds"])
    monkeypatch.setattr(lake, "open_table", lambda *_, **__: DeltaTable(str(tmp_path)))
    told = []
    for hour, value in enumerate([1.0, 0.1, 1.0]):
        measured = {"metric_id": f"m {value}", "value": value, "time": f"2013-01-02T0{hour}:00:00Z"}
        told.append(metric_row(QUALITY | measured, "house", BINARY)[1])
        merge("house", DATA_QUALITY, told, merged := Merged())
        assert newest_values(lake.read_rows("house", "data_quality")) == {("2013-01-01", "readings", "validity"): value}
    assert merged.inserted == {"data_quality": 1}, "the row of the first value is newer now"
    merge("house", DATA_QUALITY, told, again := Merged())
    assert again.inserted == {"data_quality": 0}


def test_a_receipt_becomes_a_runtime_metric() -> None:
    common = {k: QUALITY[k] for k in ("metric_id", "use_case", "ds", "time", "run_id")}
    table, row = metric_row(
        common | {"kind": "model_loaded", "instance": "i", "sequence": 4, "model_id": "m"}, "house", BINARY
    )
    assert table is RUNTIME_METRICS
    assert (row["name"], row["value"], row["instance"]) == ("model_loaded", 4.0, "i")


def test_a_receipt_is_one_row_of_each_day_it_was_sent_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_deltalake(tmp_path, lake.arrow_schema(RUNTIME_METRICS).empty_table(), partition_by=["ds"])
    monkeypatch.setattr(lake, "open_table", lambda *_, **__: DeltaTable(str(tmp_path)))
    about: dict[str, Any] = {"metric_id": "m", "use_case": "house", "run_id": "", "kind": "model_loaded"}
    about |= {"instance": "i", "sequence": 4, "model_id": "m"}
    days = ("2013-01-01", "2013-01-02")
    told = [metric_row(about | {"ds": ds, "time": f"{ds}T00:00:00Z"}, "house", BINARY)[1] for ds in days]
    for row in told:
        merge("house", RUNTIME_METRICS, [row, row], merged := Merged())
        assert merged.inserted == {"runtime_metrics": 1}
    rows = lake.read_rows("house", "runtime_metrics")
    assert sorted((row["metric_id"], row["ds"]) for row in rows) == [("m", ds) for ds in days]
    merge("house", RUNTIME_METRICS, told, again := Merged())
    assert again.inserted == {"runtime_metrics": 0}
    assert again.identities == {"runtime_metrics": {ds: {"m"} for ds in days}}


def test_a_receipt_makes_no_other_day_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_deltalake(tmp_path, lake.arrow_schema(RUNTIME_METRICS).empty_table(), partition_by=["ds"])
    monkeypatch.setattr(lake, "open_table", lambda *_, **__: DeltaTable(str(tmp_path)))
    for ds, kind in (("2013-01-01", "runtime"), ("2013-01-02", "model_loaded")):
        about = {"metric_id": kind, "kind": kind, "ds": ds, "time": f"{ds}T00:00:00Z", "run_id": "", "instance": "i"}
        row = metric_row(about | {"name": "up", "value": 1.0, "sequence": 4}, "house", BINARY)[1]
        merge("house", RUNTIME_METRICS, [row], merged := Merged())
        assert merged.inserted == {"runtime_metrics": 1}
        for file in (tmp_path / f"ds={ds}").iterdir():
            file.unlink()


def test_nested_values_are_kept_as_json() -> None:
    common = {k: QUALITY[k] for k in ("metric_id", "use_case", "ds", "time", "run_id")}
    message = common | {"kind": "training_run", "trial_id": "t", "status": "failed", "config": {"b": 1, "a": 2}}
    table, row = parse_message(json.dumps(message).encode(), "house", BINARY)
    assert table == training_runs_table(BINARY)
    assert row["config"] == '{"a": 2, "b": 1}'
    assert row["validation_auc"] is None


def test_a_ledger_line_becomes_a_row() -> None:
    line = {"sequence": 1, "time": "2013-01-02T03:04:05.678Z", "event": "promoted", "model_id": "m", "parent_id": None}
    row = ledger_row(line | {"actor": "a", "reason": "r", "run_id": "x", "metrics": {}})
    assert (row["sequence"], row["ds"], row["parent_id"]) == (1, "2013-01-02", None)


def test_reading_back_finds_missing_and_repeated_rows() -> None:
    found = {("d1", "a"): 1, ("d1", "b"): 2}
    problems = differences("t", {"d1": {"a", "b"}, "d2": {"c"}}, found)
    assert problems == ["t d2: 1 loaded rows are missing, first c", "t d1: b is there 2 times"]
    assert differences("t", {"d1": {"a"}}, {("d1", "a"): 1, ("d1", "older"): 1}) == []


def test_the_same_measurement_has_the_same_identity() -> None:
    again = data_quality_id("u", "d", "s", "validity", 1 / 3)
    assert again == data_quality_id("u", "d", "s", "validity", 1 / 3)
    assert again != data_quality_id("u", "d", "s", "validity", 0.5)


def test_a_group_whose_coordinator_is_not_there_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "ASK_AGAIN_SECONDS", 0)
    asked: list[int] = []

    def ask() -> list[TopicPartition]:
        asked.append(1)
        if len(asked) < 3:
            raise KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))
        return []

    assert metrics._once_there(ask) == []
    assert len(asked) == 3

    def refuse() -> list[TopicPartition]:
        raise KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))

    with pytest.raises(KafkaException):
        metrics._once_there(refuse)


class FakeTopic:
    """A topic of one partition, and the consumer that reads it for a group."""

    def __init__(self, values: list[bytes]) -> None:
        self.values, self.taken, self.at, self.read = values, -1, 0, list[int]()

    def list_topics(self, topic: str, timeout: float) -> Any:
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions={0: None})})

    def committed(self, asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(part.topic, part.partition, self.taken) for part in asked]

    def assign(self, places: list[TopicPartition]) -> None:
        self.at = max(0, places[0].offset)

    def poll(self, timeout: float) -> Any:
        if self.at == len(self.values):
            end = SimpleNamespace(code=lambda: KafkaError._PARTITION_EOF)
            return SimpleNamespace(error=lambda: end, partition=lambda: 0)
        offset, self.at = self.at, self.at + 1
        self.read.append(offset)
        value = self.values[offset]
        return SimpleNamespace(error=lambda: None, partition=lambda: 0, offset=lambda: offset, value=lambda: value)

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        self.taken = offsets[0].offset
        return offsets

    def close(self) -> None:
        pass


def told(number: int, **changes: Any) -> bytes:
    measured = {"metric_id": f"m{number}", "ds": f"2013-01-0{1 + number // 2}", **changes}
    return json.dumps(QUALITY | measured).encode()


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., metrics.Loaded]:
    """Load a topic into a table of data quality in a folder, so many messages together."""
    write_deltalake(tmp_path, lake.arrow_schema(DATA_QUALITY).empty_table(), partition_by=["ds"])
    monkeypatch.setattr(lake, "open_table", lambda *_, **__: DeltaTable(str(tmp_path)))
    monkeypatch.setattr(metrics, "ledger_rows", lambda *_: [])

    def loaded(topic: FakeTopic, together: int, again: bool = False) -> metrics.Loaded:
        monkeypatch.setattr(metrics, "Consumer", lambda _: topic)
        monkeypatch.setattr(metrics, "MESSAGES_TOGETHER", together)
        return metrics.load_metrics("house", BINARY, KafkaSettings("kafka:1"), object(), again)

    return loaded


@pytest.mark.parametrize("together", [1, 2, 5, 100])
def test_parts_together_are_the_whole(load: Callable[..., metrics.Loaded], together: int) -> None:
    topic = FakeTopic([*map(told, range(4)), told(0), b"no metric", told(4)])
    loaded = load(topic, together)
    assert loaded.inserted == Counter(data_quality=5, ledger=0)
    assert loaded.days() == {"data_quality": ["2013-01-01", "2013-01-02", "2013-01-03"]}
    assert (loaded.messages, loaded.rejected, topic.taken) == (7, 1, 7)
    assert sorted(row["metric_id"] for row in lake.read_rows("house", "data_quality")) == [f"m{n}" for n in range(5)]
    assert load(topic, together).days() == {}
    again = load(topic, together, again=True)
    assert (again.days(), again.inserted) == (loaded.days(), Counter(data_quality=0, ledger=0))


def test_a_load_that_dies_goes_on_behind_what_the_tables_have(
    load: Callable[..., metrics.Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, real, merged = FakeTopic([told(number) for number in range(5)]), lake.merge_rows, list[int]()

    def dying(use_case: str, table: Any, rows: Any, update: Any) -> int:
        merged.extend([len(rows)] if rows else [])
        if merged == [2, 2] and rows:
            raise ConnectionError("storage is away")
        return real(use_case, table, rows, update)

    monkeypatch.setattr(lake, "merge_rows", dying)
    with pytest.raises(ConnectionError):
        load(topic, 2)
    assert topic.taken == 2
    topic.read.clear()
    assert load(topic, 2).inserted["data_quality"] == 3
    assert (topic.read, topic.taken, merged) == ([2, 3, 4], 5, [2, 2, 2, 1])


def test_a_few_days_are_compared_at_a_time() -> None:
    rows = {"1": 200, "2": 100, "3": 1, "4": 900, "5": 1}
    assert list(lake.few_at_a_time("12345", rows, 300)) == [["1", "2"], ["3"], ["4"], ["5"]]
    assert list(lake.few_at_a_time(["1", "never seen"], rows, 300)) == [["1", "never seen"]]
    assert list(lake.few_at_a_time([], rows, 300)) == []


def test_reading_back_compares_every_day_whatever_is_held_together(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Counter({(ds, f"{ds} {number}"): 1 for ds in "123" for number in range(2)})
    asked: list[list[str]] = []

    def shown(_: Any, __: str, days: list[str]) -> Counter[tuple[str, str]]:
        asked.append(days)
        return Counter({row: 1 for row in there if row[0] in days and row != ("3", "3 1")})

    monkeypatch.setattr("include.metrics.hive.connect", lambda **_: nullcontext())
    monkeypatch.setattr(lake, "rows_by_day", lambda *_: dict.fromkeys("123", 2))
    monkeypatch.setattr(metrics, "_identities_in_table", lambda _, __, days: [row for row in there if row[0] in days])
    monkeypatch.setattr(metrics, "_identities_in_hive", shown)
    monkeypatch.setattr(metrics, "ROWS_COMPARED", 4)
    door = HiveSettings("hive", 1, "analyst", "house")
    assert metrics.read_back("house", {"t": ["1", "2"]}, door) == {"t": 4}
    with pytest.raises(metrics.ReadBackMismatch, match="t 3: 1 loaded rows are missing, first 3 1"):
        metrics.read_back("house", {"t": ["1", "2", "3"]}, door)
    assert asked == [["1", "2"], ["1", "2"], ["3"]]
