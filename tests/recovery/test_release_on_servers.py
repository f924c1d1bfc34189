"""Release on the real servers: afterwards everything is as if the contract had been right from the beginning."""

import pytest

from include import book, lake
from tests.recovery import steps
from tests.recovery.conftest import DAYS, LAST, Worlds
from tests.recovery.content import DERIVED, content
from tests.spark_jobs.workshop import FIRST

pytestmark = pytest.mark.drill

RAW, QUARANTINE = f"raw_{steps.SOURCE}", f"quarantine_{steps.SOURCE}"


def ingest_lines(name: str) -> dict[str, tuple[int, int, int, int]]:
    rows = [r for r in lake.read_rows(name, "book") if (r["stage"], r["source"]) == ("ingest", steps.SOURCE)]
    return {r["ds"]: (r["landed"], r["ingested"], r["quarantined"], r["duplicate"]) for r in rows}


def test_release_gives_what_the_right_contract_would_have_given(worlds: Worlds) -> None:
    strict, fair, do = worlds.strict, worlds.fair, worlds.workshop.do
    before = {table: content(strict, table) for table in (RAW, QUARANTINE, "features")}
    quarantined = lake.rows_by_day(strict, QUARANTINE)
    assert sum(quarantined.values()) > 5 and lake.rows_by_day(fair, QUARANTINE) == {}
    assert content(strict, "features") != content(fair, "features")

    dry = do(steps.release, strict, FIRST, LAST, "", True, "dry")
    assert dry[-1] == f"{sum(quarantined.values())} rows would be released (dry run)"
    assert do(steps.release, strict, FIRST, LAST, "no such reason", False, "none")[-1] == "0 rows released"
    assert {table: content(strict, table) for table in before} == before

    done = do(steps.release, strict, FIRST, LAST, "is above 36", False, "release")
    assert done[-1] == f"{sum(quarantined.values())} rows released"
    released = [row for row in lake.read_rows(strict, RAW) if row["run_id"] == "release"]
    assert {row["contract_version"] for row in released} == {2}
    rejected = {(r["landing_key"], r["landing_line"]): r for r in lake.read_rows(strict, QUARANTINE)}
    for row in released:
        assert row["landing_sha256"] == rejected[(row["landing_key"], row["landing_line"])]["landing_sha256"]
    assert {row["contract_version"] for row in rejected.values()} == {1}
    assert content(strict, QUARANTINE) == before[QUARANTINE], "what was rejected is kept as it was"

    spans = do(steps.derive, strict, steps.SOURCE, [d for d in DAYS if d.isoformat() in quarantined], "derive")
    assert spans and spans[-1][1] == LAST
    for table in (RAW, *DERIVED, "landing_files"):
        assert content(strict, table) == content(fair, table), table
    assert ingest_lines(strict) == ingest_lines(fair)

    version = lake.open_table(strict, RAW).version()
    again = do(steps.release, strict, FIRST, LAST, "", False, "again")
    assert again[-1] == "0 rows released" and "were released before" in again[0]
    assert lake.open_table(strict, RAW).version() == version


def test_a_row_that_release_lost_is_found_by_the_book(worlds: Worlds) -> None:
    strict = worlds.strict
    use_case = steps.with_contract(strict, 2)
    row = next(row for row in lake.read_rows(strict, RAW) if row["run_id"] == "release")
    place = f"landing_key = '{row['landing_key']}' AND landing_line = {row['landing_line']}"
    day = next(day for day in DAYS if day.isoformat() == row["ds"])
    lake.open_table(strict, QUARANTINE).delete(place)
    book.close_ingest_book(use_case, [day], "still in raw")
    lake.open_table(strict, RAW).delete(place)
    with pytest.raises(book.BookMismatch, match=f"{row['ds']} ingest {steps.SOURCE}: .*line {row['landing_line']}"):
        book.close_ingest_book(use_case, [day], "lost")
