"""Each training night with all its rivals, whatever the gate measured once more, in DuckDB in the place of MySQL."""

from datetime import datetime, timedelta

import duckdb
import sqlglot

from dashboard.figures import names
from dashboard.model_history import quality
from include.target import BINARY

NIGHTS = (datetime(2026, 11, 29, 22, 44, 30), datetime(2026, 11, 30, 22, 44, 30))


def test_a_night_has_its_network_and_every_rival() -> None:
    figures = [name.strip() for name in names(BINARY).split(",")]
    store = duckdb.connect()
    typed = ", ".join(f"{name} DOUBLE" for name in figures)
    store.execute(
        "CREATE TABLE model_quality (time TIMESTAMP, measured_by TEXT, model_id TEXT, role TEXT, split TEXT, "
        f'"hour" TIMESTAMP, from_ds TEXT, to_ds TEXT, "rows" INT, {typed})'
    )
    for number, night in enumerate(NIGHTS):
        bundles = [("candidate", f"model {number}"), ("champion", "an older one")]
        # The gate's figures come a minute later, and the days of both nights are the same.
        later = night + timedelta(minutes=1)
        measured = [(night, "train", *one) for one in (*bundles, ("lightgbm", ""), ("base_rate", ""))]
        measured += [(later, "promote", *one) for one in bundles]
        for time, run, role, model in measured:
            row = [
                time,
                f"{run} {number}",
                model,
                role,
                "test",
                None,
                "2013-01-01",
                "2013-01-07",
                9,
                *[0.5] * len(figures),
            ]
            store.execute(f"INSERT INTO model_quality VALUES ({', '.join('?' * len(row))})", row)
    (statement,) = sqlglot.transpile(quality(BINARY).sql, read="mysql", write="duckdb")
    shown = store.execute(f"SELECT night, who FROM ({statement}) ORDER BY 1, 2").fetchall()
    who = ["LightGBM", "base rate", "champion before", "network"]
    assert shown == [(f"{night:%Y-%m-%d %H:%M}", one) for night in NIGHTS for one in who]
