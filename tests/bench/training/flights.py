"""A year of flights as the training job finds it: Delta tables of features, labels and the book, in a local folder.

The same facts, contracts' ranges, windows and feature function as the batch layer's; only the engine differs: DuckDB
computes the windows (``make bench-batch`` holds them against Spark's), because a year through Spark costs half an hour
on two cores and says nothing about training. It does not know networks or rivals.

    python -m tests.bench.training.flights FOLDER
"""

import argparse
import tempfile
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import write_deltalake

from include.contracts.contract import Contract
from include.features.assemble import feature_table
from include.features.columns import ReferenceTable, compute_features, numpy_columns
from include.locations import reference_key
from include.training.dataset import Tables
from include.use_case import UseCase, load_use_case
from include.use_cases.flight_delay import upstream
from include.use_cases.flight_delay.feeder import day_files, reference_files
from include.use_cases.flight_delay.windows import LATE_MINUTES
from tests.bench.duckdb_windows import compute_windows

FIRST, LAST = date(2013, 1, 1), date(2013, 12, 31)


def year_tables(folder: Path) -> Tables:
    """The tables of 2013 under ``folder``, made when they are not there for the running feature definition."""
    use_case = load_use_case("flight_delay")
    place = folder / use_case.features.hash()[:16]
    done = place / "_SUCCESS"
    if not done.exists():
        make_tables(use_case, place)
        done.touch()
    return Tables(str(place), {})


def make_tables(use_case: UseCase, place: Path) -> None:
    """Write features, labels and book of every day of 2013."""
    facts = upstream.facts_of_days(FIRST - timedelta(days=1), LAST)
    kept = {contract.name: within_contract(facts[contract.name], contract) for contract in use_case.sources}
    days = [(FIRST + timedelta(days=number)).isoformat() for number in range((LAST - FIRST).days + 1)]
    features = features_of(use_case, kept, days)
    labels = labels_of(kept)
    labels = labels.merge(features.select(["subject_id", "ds"]).to_pandas(), on="subject_id")
    write_deltalake(str(place / "features"), features, partition_by=["ds"], mode="overwrite")
    write_deltalake(str(place / "labels"), pa.Table.from_pandas(labels, preserve_index=False), mode="overwrite")
    book = {"stage": ["labels"] * len(days), "closed": [True] * len(days), "ds": days}
    write_deltalake(str(place / "book"), pa.table(book), mode="overwrite")


def within_contract(facts: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """The facts that no numeric range of the contract refuses (one wind of 1,048 mph is quarantined in the lake)."""
    good = pd.Series(True, index=facts.index)
    for field in contract.fields:
        if field.minimum is not None:
            good &= ~(facts[field.name] < field.minimum)
        if field.maximum is not None:
            good &= ~(facts[field.name] > field.maximum)
    return facts[good]


def features_of(use_case: UseCase, facts: Mapping[str, pd.DataFrame], days: list[str]) -> pa.Table:
    """Every subject whose prediction time lies in ``days``, with its features, hash and day."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in day_files(facts, FIRST - timedelta(days=1), LAST):
            path = folder / file.source / file.day.isoformat() / "part-0.csv.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
        output = folder / "windows.parquet"
        compute_windows(use_case, folder, days, output)
        windows = pq.read_table(output).sort_by("subject_id")
    subjects = subjects_of(use_case, facts, days)
    assert subjects["id"].to_pylist() == windows["subject_id"].to_pylist(), "not the same subjects"
    files = reference_files(upstream.data_folder())
    references = {
        item.name: ReferenceTable.from_csv(item, files[reference_key(use_case.name, item.name)])
        for item in use_case.features.references
    }
    values = {column: windows[column].cast("double").to_numpy() for column in windows.column_names[1:]}
    computed = compute_features(numpy_columns(subjects), values, references, use_case.features)
    table = feature_table(subjects, computed, use_case.subject.key, use_case.features)
    ds = np.datetime_as_string(subjects["prediction_time"].to_numpy().astype("datetime64[D]"))
    table = table.append_column("features_hash", pa.array([use_case.features.hash()] * len(table)))
    return table.append_column("ds", pa.array(ds.tolist()))


def subjects_of(use_case: UseCase, facts: Mapping[str, pd.DataFrame], days: list[str]) -> pa.Table:
    """The scheduled flights as the feature function takes them, in the order of their ids."""
    schedule = facts[use_case.subject_source]
    at = schedule[use_case.subject_time] - pd.Timedelta(minutes=use_case.prediction_lead_minutes)
    chosen = schedule.assign(prediction_time=at)[at.dt.strftime("%Y-%m-%d").isin(days)].sort_values("id")
    names = use_case.subject.field_names
    return pa.Table.from_pandas(chosen[list(names)], preserve_index=False)


def labels_of(facts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """``subject_id`` and ``label`` as the use case's Spark job has them: late, cancelled or diverted is 1."""
    arrived = facts["arrivals"].set_index("id")["arrival_delay"]
    failed = set(facts["departures"]["id"]) | set(facts["cancellations"]["id"])
    late = (arrived > LATE_MINUTES).astype(np.int32)
    rest = pd.Series(1, index=sorted(failed - set(late.index)), dtype=np.int32)
    known = pd.concat([late, rest])
    return pd.DataFrame({"subject_id": known.index, "label": known.to_numpy(dtype=np.int32)})


def main() -> None:
    """Make the tables, or say where they are."""
    parser = argparse.ArgumentParser(description="A year of flights as Delta tables.")
    parser.add_argument("folder", type=Path)
    print(year_tables(parser.parse_args().folder).root)


if __name__ == "__main__":
    main()
