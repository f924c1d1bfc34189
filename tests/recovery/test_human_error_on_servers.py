"""Fourteen days, one of them a human error: trained on, promoted, served; discovered, retracted; as if it had not been.

Two worlds on the real servers: one lands a file of arrivals with all delays negated, the other never has that file.
What the DAG ``retract_day`` does is done here by the functions that its tasks call.
"""

import dataclasses
import gzip
import io
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest
import ray

from include import book, lake, ledger, promotion
from include.blast_radius import BlastRadius, blast_radius
from include.broadcast import announcer
from include.bundle.bundle import load_bundle
from include.landing import s3_client
from include.locations import LANDING_BUCKET, Topics, landing_prefix
from include.metrics import load_metrics
from include.retraction import choose, touched_by_now
from include.rollback import Request, Rollback, demote
from include.settings import KafkaSettings, MysqlSettings, S3Settings
from include.target import BINARY
from include.training.dataset import Tables, rows_of
from include.training.train_model import Systems, parse, train
from include.use_case import Gate, UseCase
from include.use_cases.flight_delay.feeder import FILE_NAME, packed
from tests.recovery import steps
from tests.recovery.content import DERIVED, answering, content, differing_in_hive, shown
from tests.spark_jobs import steps as spark_steps
from tests.spark_jobs.served import message, send
from tests.spark_jobs.workshop import FIRST, Workshop, feed, spark_process, topics_for

pytestmark = pytest.mark.drill

SOURCE = "arrivals"
#: The first model knows the days before the error only.
BEFORE, LAST = FIRST + timedelta(days=8), FIRST + timedelta(days=13)
BAD = FIRST + timedelta(days=9)
SERVED = 100
#: What was measured and answered is history: only the world with the error has served and measured anything.
HISTORY = {"data_quality", "runtime_metrics", "model_quality", "recent_predictions", "prediction_stats"}
PARITY = ("predictions", "parity")
#: Two weeks say little about which model is better: whether it may be promoted is not what is tried here.
LENIENT = Gate(
    minimum_test_rows=1,
    minimum_skill_gain=-1.0,
    maximum_loss_excess=10.0,
    maximum_calibration_error=1.0,
    maximum_slice_loss_excess=10.0,
    maximum_predict_ms=1000.0,
)


@dataclass(frozen=True)
class World:
    """One use case's way through the fourteen days."""

    name: str
    workshop: Workshop

    @property
    def use_case(self) -> UseCase:
        return dataclasses.replace(spark_steps.named(self.name), gate=LENIENT)

    @property
    def systems(self) -> Systems:
        return Systems.from_environment(self.name)

    @property
    def tables(self) -> Tables:
        return Tables.on_s3(self.name, S3Settings.from_environment())

    def load(self, first: date, last: date) -> None:
        self.workshop.do(steps.load, self.name, first, last)

    def train(self, run_id: str, last: date) -> str:
        """Train on the days up to ``last``; the candidate's id."""
        window = f"--use-case {self.name} --from {FIRST} --to {last} --run-id {run_id} --trials 1 --epochs 1 --seed 7"
        try:
            return str(train(parse(window.split()), self.systems, self.use_case)["model_id"])
        finally:
            ray.shutdown()

    def promote(self, model_id: str) -> promotion.Promotion:
        systems = promotion.Systems.from_environment(self.name)
        return promotion.promote(systems, self.use_case, model_id, model_id[:8], "ann", accept_quality=True)

    def champion(self) -> str:
        head = ledger.champion(self.systems.models, self.name)
        assert head is not None
        return head.model_id

    def weights(self, model_id: str) -> dict[str, bytes]:
        """What the model answers by; its lineage and card name the run."""
        return answering(self.systems.models, self.name, model_id)

    def serve(self, model_id: str, ds: str) -> None:
        """Answer about subjects of a day as the service does."""
        table = lake.open_table(self.name, "features").to_pyarrow_table(filters=[("ds", "=", ds)]).slice(0, SERVED)
        unlabelled = table.append_column("label", pa.nulls(len(table), pa.float32()))
        bundle = load_bundle(self.systems.models, self.name, model_id, self.use_case.features)
        answers = bundle.answers(rows_of(unlabelled, self.use_case.features, BINARY).columns)
        pairs = zip(table.to_pylist(), answers, strict=True)
        said = [message(row, model_id=model_id, probability=float(answer)) for row, answer in pairs]
        send(Topics(self.name).predictions, said)

    def measure(self, run_id: str) -> dict[tuple[str, str], dict[str, float]]:
        """Log and measure the answers, load the metrics; the newest scorecard: (source, dimension) to value by day."""
        assert self.workshop.do(spark_steps.score, self.name, run_id) == 0
        load_metrics(self.name, BINARY)
        found: dict[tuple[str, str], dict[str, float]] = {}
        for row in sorted(lake.read_rows(self.name, "data_quality"), key=lambda row: row["time"]):
            found.setdefault((row["source"], row["dimension"]), {})[row["ds"]] = row["value"]
        return found

    def dry_run(self) -> BlastRadius:
        found = choose(self.tables, self.use_case, "retracted", SOURCE, BAD, "dry", datetime.now(UTC))
        derived = book.closed_days(self.use_case, book.PREPROCESS)
        mysql = MysqlSettings.from_environment()
        return blast_radius(self.tables, self.systems.models, mysql, self.use_case, found, derived)

    def demote(self) -> Rollback:
        announce = announcer(KafkaSettings.from_environment())
        touched = touched_by_now(self.tables, self.use_case)
        request = Request(None, "all delays were negated", "ann", "retract")
        return demote(self.systems.models, announce, self.use_case, touched, request)


def of_facts() -> dict[str, list[str]]:
    """What MySQL shows of facts, predictions' history apart."""
    found = {table: rows for table, rows in shown().items() if table not in HISTORY}
    assert found["recent_events"] and found["hourly_stats"] and found["daily_stats"]
    return found


def negate_delays(name: str) -> None:
    """The human error: the file of the day, with every delay's sign turned."""
    client, key = s3_client(), landing_prefix(name, SOURCE, BAD) + FILE_NAME
    right = client.get_object(Bucket=LANDING_BUCKET, Key=key)["Body"].read()
    facts = pd.read_csv(io.BytesIO(gzip.decompress(right)), dtype=str, keep_default_na=False)
    facts["arrival_delay"] = [str(-int(delay)) for delay in facts["arrival_delay"]]
    client.delete_object(Bucket=LANDING_BUCKET, Key=key)
    client.put_object(Bucket=LANDING_BUCKET, Key=key, Body=packed(facts))


@pytest.fixture(scope="module")
def worlds(importable: None) -> Iterator[tuple[World, World]]:
    """``wrong`` has the file with the error, ``never`` has none of that day; nothing is ingested yet."""
    mark = uuid.uuid4().hex[:8]
    names = [f"test_wrong_{mark}", f"test_never_{mark}"]
    with topics_for(names), spark_process(names) as pool:
        workshop = Workshop(pool, days=names[0], window=names[1], odd="")
        wrong, never = (World(name, workshop) for name in names)
        for world in (wrong, never):
            feed(world.name, LAST)
        negate_delays(wrong.name)
        steps.empty(never.name, SOURCE, BAD)
        yield wrong, never


def test_a_human_error_is_undone_in_everything_that_came_of_it(worlds: tuple[World, World]) -> None:
    wrong, never = worlds
    wrong.load(FIRST, BEFORE)
    good = wrong.train("before", BEFORE)
    assert wrong.promote(good).promoted

    wrong.load(BAD, LAST)
    misled = wrong.train("misled", LAST)
    assert wrong.promote(misled).promoted and wrong.champion() == misled
    wrong.serve(misled, LAST.isoformat())
    wrong.workshop.do(spark_steps.refresh, wrong.name, "misled")
    misled_shown = of_facts()

    scorecard = wrong.measure("served")
    assert scorecard[PARITY] == {LAST.isoformat(): 1.0}
    accuracy = scorecard[(SOURCE, "accuracy")]
    bad = accuracy.pop(BAD.isoformat())
    threshold = wrong.use_case.quality.thresholds["accuracy"]
    assert bad < threshold < min(accuracy.values()), "the scorecard names the day"

    radius = wrong.dry_run()
    assert [(one.model_id, one.role, one.predictions) for one in radius.models] == [(misled, "champion", SERVED)]
    assert radius.rows["mysql.recent_events"] > 0 and radius.rows[f"raw_{SOURCE}"] > 0
    raw = content(wrong.name, f"raw_{SOURCE}")

    wrong.workshop.do(steps.withdraw, wrong.name, "retracted", SOURCE, BAD, "retract")
    assert wrong.demote().model_id == good == wrong.champion()
    wrong.workshop.do(steps.derive, wrong.name, SOURCE, [BAD], "after retract")
    wrong.workshop.do(spark_steps.refresh, wrong.name, "retracted")
    corrected_shown = of_facts()
    assert wrong.measure("retracted")[PARITY] == {LAST.isoformat(): 1.0}, "what was served was right by what was known"

    never.load(FIRST, BEFORE)
    never_good = never.train("before", BEFORE)
    assert never.promote(never_good).promoted
    never.load(BAD, LAST)
    never.workshop.do(spark_steps.refresh, never.name, "never")

    assert content(wrong.name, f"raw_{SOURCE}") == raw != [], "raw keeps the error"
    for table in DERIVED:
        assert content(wrong.name, table) == content(never.name, table), table
        assert differing_in_hive(wrong.name, never.name, table) == 0, f"{table} in Hive"
    never_shown = of_facts()
    assert {table for table in never_shown if corrected_shown[table] != never_shown[table]} == set(), "MySQL"
    assert misled_shown != never_shown
    assert wrong.weights(good) == never.weights(never_good), "champion"

    retrained = {world.name: world.train("again", LAST) for world in worlds}
    # Two weeks may be too little for the gate; what counts is that both worlds say the same.
    assert len({world.promote(retrained[world.name]).promoted for world in worlds}) == 1
    assert wrong.weights(wrong.champion()) == never.weights(never.champion()) != wrong.weights(misled)
    trained = [world.weights(retrained[world.name]) for world in worlds]
    assert trained[0] == trained[1] != wrong.weights(misled)
    print(json.dumps({"accuracy of the day": round(bad, 4), "rows": dict(radius.rows), "served": SERVED}))
