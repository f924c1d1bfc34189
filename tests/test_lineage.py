"""One prediction is traced to its model, window, table versions and landing files, and to nothing that came later."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from include.bundle.store import DirectoryStore
from include.ledger import Entry, append
from include.lineage import Untraceable, trace
from include.locations import Models
from include.target import BINARY
from include.use_case import UseCase
from tests.test_retraction import DAY, DAYS, DS, Lake, lineage

SHOPS = cast(
    UseCase,
    SimpleNamespace(
        target=BINARY,
        name="shops",
        history_days=1,
        label_horizon_days=1,
        sources=(SimpleNamespace(name="sales", announced_days=0),),
        features=SimpleNamespace(windows=(SimpleNamespace(span_minutes=1440, tile=SimpleNamespace(source="sales")),)),
        source=lambda name: SimpleNamespace(name=name, key="id", announced_days=0),
    ),
)
MODEL = "m" * 64
LINE = Entry(1, "2020-02-01T00:00:00.000Z", "promoted", MODEL, None, "ann", "better", "run-1")


class World:
    """A lake and a models bucket in folders; a model of DAYS has answered once, and once more after a rollback."""

    def __init__(self, root: Path) -> None:
        self.lake, self.models = Lake(root / "lake"), DirectoryStore(root / "models")
        for ds in ("2019-12-30", "2019-12-31", DS):
            self.lake.land(f"shops/sales/ds={ds}/a.csv.gz", [ds], ds=ds)
        self.versions = self.lake.derive(DAYS, "derive")
        self.lake.land(f"shops/sales/ds={DS}/late.csv.gz", ["late"])
        document = {**lineage(self.versions), "run_id": "train-1", "seed": 7, "code_version": "abc"}
        self.models.put(Models("shops").bundle_prefix(MODEL) + "lineage.json", json.dumps(document).encode())
        append(self.models, "shops", LINE)
        append(self.models, "shops", replace(LINE, sequence=2, event="rolled_back", parent_id="x"))
        self.log(*(self.answer(hour, hour) for hour in (2, 1)))

    def answer(self, hour: int, sequence: int) -> dict[str, Any]:
        moment = datetime(2020, 2, 2, hour, tzinfo=UTC)
        about = {"id": "subject-1", "ds": "2020-02-02", "via": "http", "degraded": False, "probability": 0.25}
        return {**about, "prediction_time": moment, "predicted_at": moment, "model_id": MODEL, "sequence": sequence}

    def log(self, *answers: dict[str, Any]) -> None:
        kind = pa.map_(pa.string(), pa.timestamp("us", tz="UTC"))
        as_of = pa.array([[("sales", answer["predicted_at"])] for answer in answers], kind)
        table = pa.Table.from_pylist(list(answers)).append_column("as_of", as_of)
        write_deltalake(f"{self.lake.tables.root}/predictions", table)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_every_answer_is_traced_to_the_files_of_its_window(world: World) -> None:
    first, second = trace(world.lake.tables, world.models, SHOPS, "subject-1")
    assert (first.ledger, second.ledger and second.ledger.event) == (LINE, "rolled_back")
    assert first.tables == world.versions
    assert first.window == {
        "train": ("2020-01-01", "2020-01-05", 5),
        "validation": ("2020-01-06", "2020-01-06", 1),
        "test": ("2020-01-07", "2020-01-07", 1),
    }
    # The windows of the first day reach back one day, no further; what was ingested later is in no pinned row.
    assert [file.landing_key for file in first.files] == [f"shops/sales/ds={d}/a.csv.gz" for d in ("2019-12-31", DS)]
    assert not any(file.withdrawn for file in first.files)


def test_a_retracted_file_is_told(world: World) -> None:
    world.lake.retract()
    (first, _) = trace(world.lake.tables, world.models, SHOPS, "subject-1")
    assert {file.ds: file.withdrawn for file in first.files} == {"2019-12-31": False, DAY.isoformat(): True}
    text = "\n".join(first.lines())
    assert "2 landing files, 1 of them retracted since" in text
    assert f"sha of shops/sales/ds={DS}/a.csv.gz shops/sales/ds={DS}/a.csv.gz (1 rows) RETRACTED" in text
    assert "ledger line 1: promoted by ann at 2020-02-01" in text and "  seed: 7" in text
    assert json.loads(json.dumps(first.to_json()))["answer"]["predicted_at"] == "2020-02-02T01:00:00.000Z"


def test_an_unknown_prediction_says_what_to_do(world: World) -> None:
    with pytest.raises(Untraceable, match=r"no prediction 'nobody' is logged: .*load_metrics"):
        trace(world.lake.tables, world.models, SHOPS, "nobody")
