"""What every server of the benchmark is given: the same weights, the same rows, as files in one folder.

Weights are those of an untrained network at its default size, fitted to the real features' quantiles and vocabulary:
a multiplication costs the same whatever the number. Tiles lie where the real flights of January 2013 put them and
hold random values. It does not know who serves.
"""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import torch
from numpy.typing import NDArray

from include.bundle.bundle import Contents, Predictor, load_bundle, write_bundle
from include.bundle.store import DirectoryStore, ObjectStore
from include.contracts.contract import Contract
from include.declaration import PREDICTION_TIME
from include.features.columns import (
    ARROW_TYPES,
    References,
    ReferenceTable,
    compute_features,
    key_texts,
    numpy_column,
    numpy_columns,
)
from include.ledger import Entry
from include.target import BINARY
from include.tiles.kernel import TileIndex, WindowPlan, minutes_of, window_columns
from include.tiles.spec import Tile
from include.training.encoding import Encoded, Encoders
from include.training.network import Network, NetworkConfig
from include.use_case import UseCase
from include.use_cases.flight_delay.feeder import reference_files
from include.use_cases.flight_delay.upstream import all_facts, data_folder, moments, read_upstream, scheduled_around

FIRST_DAY, LAST_DAY = date(2013, 1, 1), date(2013, 1, 31)
FITTED_DAYS = tuple(f"2013-01-{day}" for day in range(15, 22))
ASKED_DAYS = ("2013-01-29", "2013-01-30", "2013-01-31")
ROWS = 1000
BATCH = 512
TILE_ROWS = pa.schema(
    [
        ("tile", pa.string()),
        ("key", pa.string()),
        ("minute", pa.timestamp("us", tz="UTC")),
        ("values", pa.list_(pa.int64())),
    ]
)
Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Material:
    """Where the files lie, and what the checks need: the subjects, their encoded rows and probabilities ``[ROWS]``.

    ``fitted`` are the features that the encoders were fitted to.
    """

    folder: Path
    model_ids: tuple[str, str]
    subjects: list[dict[str, Any]]
    rows: Encoded
    probabilities: NDArray[np.float64]
    tiles: int
    fitted: Columns

    @property
    def onnx(self) -> Path:
        """The network as ONNX: ``numeric`` float32 and ``category`` int64 in, ``logit`` out."""
        return self.folder / "network.onnx"


def make_material(use_case: UseCase, folder: Path) -> Material:
    """Write bundles, tiles and the pickled network under ``folder``, and compute what the answers must be."""
    facts = all_facts(scheduled_around(read_upstream(data_folder()), FIRST_DAY, LAST_DAY))
    tiles = tile_rows(use_case, facts)
    pyarrow.parquet.write_table(tiles, folder / "tiles.parquet")
    references = reference_bytes()
    fitted = features_of(use_case, tiles, references, some_subjects(use_case, facts, FITTED_DAYS, 4000))
    subjects = some_subjects(use_case, facts, ASKED_DAYS, ROWS)
    store = DirectoryStore(folder / "models")
    first, second = (write_network(store, use_case, fitted, references, seed) for seed in (1, 2))
    bundle = load_bundle(store, use_case.name, first, use_case.features)
    columns = features_of(use_case, tiles, references, subjects)
    torch.save(bundle.predictor.network, folder / "network.pt")
    rows = bundle.predictor.encoders.encode(columns)
    np.savez(folder / "rows.npz", numeric=rows.numeric, category=rows.category)
    (folder / "models.json").write_text(json.dumps([first, second]))
    return Material(folder, (first, second), subjects, rows, bundle.answers(columns), len(tiles), fitted)


def tile_rows(use_case: UseCase, facts: Mapping[str, pd.DataFrame]) -> pa.Table:
    """A tile wherever the real facts have one, with random values."""
    random = np.random.default_rng(7)
    return pa.concat_tables([_tiles_of_kind(use_case, tile, facts[tile.source], random) for tile in use_case.tiles])


def _tiles_of_kind(use_case: UseCase, tile: Tile, facts: pd.DataFrame, random: np.random.Generator) -> pa.Table:
    contract = use_case.source(tile.source)
    happened, known = moments(facts, contract.event_time), moments(facts, contract.available_time)
    moment = cast("pd.Series[pd.Timestamp]", np.maximum(happened, known))
    key = facts[tile.key[0]].astype("string")
    for name in tile.key[1:]:
        key = key + "|" + facts[name].astype("string")
    rows = pd.DataFrame({"key": key, "minute": moment.dt.floor("min")}).dropna().drop_duplicates()
    held = rows["minute"].dt.date.between(FIRST_DAY, LAST_DAY)
    rows = rows[held]
    values = random.integers(0, 30, (len(rows), len(tile.measures)))
    for place, measure in enumerate(tile.measures):
        if measure.kind == "count":
            values[:, place] = random.integers(1, 3, len(rows))
    columns = [pa.array([tile.name] * len(rows)), pa.array(rows["key"]).cast(pa.string())]
    columns += [pa.array(rows["minute"]).cast(TILE_ROWS.field("minute").type)]
    return pa.table([*columns, pa.array(list(values), TILE_ROWS.field("values").type)], schema=TILE_ROWS)


def some_subjects(
    use_case: UseCase, facts: Mapping[str, pd.DataFrame], days: Sequence[str], count: int
) -> list[dict[str, Any]]:
    """``count`` real subjects of ``days`` as JSON objects, in a random order that is always the same."""
    source = facts[use_case.subject_source]
    names = [name for name in use_case.subject.field_names if name in source.columns]
    day = source[use_case.subject_time].dt.strftime("%Y-%m-%d")
    chosen = source[day.isin(days)][names].sample(count, random_state=1)
    chosen[use_case.subject_time] = chosen[use_case.subject_time].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    found: list[dict[str, Any]] = json.loads(chosen.to_json(orient="records"))
    return found


def reference_bytes() -> dict[str, bytes]:
    """Reference tables by name, gzipped CSV."""
    files = reference_files(data_folder())
    return {Path(key).name.removesuffix(".csv.gz"): content for key, content in files.items()}


def features_of(
    use_case: UseCase, tiles: pa.Table, references: Mapping[str, bytes], subjects: Sequence[Mapping[str, Any]]
) -> Columns:
    """The features of subjects whose whole history lies in ``tiles``: by the batch layer's way, not the service's."""
    table = subject_table(_typed(use_case, subjects), use_case.subject)
    windows = use_case.features.windows
    keys = {key: key_texts(table, key) for key in {window.key for window in windows}}
    minutes = minutes_of(numpy_column(table.column(PREDICTION_TIME)))
    index = TileIndex.from_arrow(use_case.tiles, tiles)
    columns = window_columns([index], WindowPlan.of(windows), keys, minutes)
    return compute_features(numpy_columns(table), columns, read_references(use_case, references), use_case.features)


def subject_table(subjects: Iterable[Mapping[str, Any]], contract: Contract) -> pa.Table:
    """Typed records (as ``validate`` returns them, plus ``prediction_time``) as an Arrow table."""
    types = {field.name: ARROW_TYPES[field.type] for field in contract.fields}
    types["prediction_time"] = ARROW_TYPES["timestamp"]
    rows = list(subjects)
    return pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in types.items()})


def _typed(use_case: UseCase, subjects: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    lead = timedelta(minutes=use_case.prediction_lead_minutes)
    for subject in subjects:
        happens = datetime.fromisoformat(subject[use_case.subject_time])
        yield {**subject, use_case.subject_time: happens, PREDICTION_TIME: happens - lead}


def read_references(use_case: UseCase, contents: Mapping[str, bytes]) -> References:
    """The reference tables in memory."""
    return {r.name: ReferenceTable.from_csv(r, contents[r.name]) for r in use_case.features.references}


def write_network(
    store: ObjectStore, use_case: UseCase, fitted: Columns, references: Mapping[str, bytes], seed: int
) -> str:
    """Write an untrained network of the default size as a bundle; returns its id, another for each seed."""
    torch.manual_seed(seed)
    encoders = Encoders.fit(use_case.features, fitted)
    network = Network(encoders, NetworkConfig()).eval()
    for parameter in network.parameters():  # bends start at zero, which would leave a part of the work out
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    contents = Contents(
        features=use_case.features,
        predictor=Predictor(network, encoders, 1.0, target=BINARY),
        references=references_plain(references),
        self_check={name: values[:32] for name, values in fitted.items()},
        metrics={"note": "untrained weights of the real size, for timing"},
        lineage={"seed": seed},
    )
    return write_bundle(store, use_case.name, contents)


def promotion(sequence: int, model_id: str) -> Entry:
    """A ledger line that names a bundle."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Entry(sequence, now, "promoted", model_id, None, "bench", "bench", f"run-{sequence}")


def references_plain(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Reference tables as a bundle holds them: plain CSV."""
    return {name: gzip.decompress(content) for name, content in contents.items()}


def our_body(subjects: Sequence[Mapping[str, Any]]) -> bytes:
    """A request to our service."""
    return json.dumps({"subjects": list(subjects)}, separators=(",", ":")).encode()


def rival_body(rows: Encoded, chosen: slice) -> bytes:
    """A request to a rival: rows ready for the network, numbers in their shortest spelling, NaN as null."""
    numeric = ",".join(f"[{','.join(map(_number, row))}]" for row in rows.numeric[chosen])
    category = json.dumps(rows.category[chosen].tolist(), separators=(",", ":"))
    return f'{{"numeric":[{numeric}],"category":{category}}}'.encode()


def _number(value: np.float32) -> str:
    return "null" if np.isnan(value) else str(value)
