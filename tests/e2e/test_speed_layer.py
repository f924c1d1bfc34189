"""A real day through the speed layer with its servers killed in the middle, then the same day through the batch layer.

Runs after ``test_batch_layer``, on the days and the champion that it leaves behind. What is sent is in the books of
the replay; what was served is compared with its recomputation in batch, to the bit.
"""

import os
import subprocess
import sys
from datetime import timedelta

import pytest

from local_stack.airflow_api import AirflowApi
from local_stack.analyst import query_hive, query_mysql
from tests.e2e.test_batch_layer import NIGHTLY, run

pytestmark = [pytest.mark.integration, pytest.mark.e2e]

DAY = NIGHTLY + timedelta(days=1)
KILLS = ("stream@09:00", "predictor@13:00", "kafka@18:00")


def replay(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "local_stack.replay", "--from", DAY.isoformat(), "--to", DAY.isoformat(), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=1500)


def test_a_day_with_every_server_killed_once_is_in_the_books_and_equals_batch() -> None:
    kills = [word for kill in KILLS for word in ("--kill", kill)]
    shares = ("--duplicates", "0.02", "--bad", "0.01", "--late", "0.01", "--step-minutes", "30")
    done = replay(*kills, *shares, "--verify")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert done.stdout.count("kill -9") == len(KILLS)


def test_analysts_see_what_was_served_and_how_good_it_was() -> None:
    ds = DAY.isoformat()
    rows, subjects = query_hive(
        os.environ, f"select count(*), count(distinct id) from predictions where ds = '{ds}' and via = 'kafka'"
    )[0]
    assert rows == subjects > 500
    parity = query_hive(
        os.environ,
        f"select value from data_quality where ds = '{ds}' and source = 'predictions' and dimension = 'parity'",
    )
    assert [value for (value,) in parity] == [1.0]
    live = query_hive(
        os.environ,
        f"select `rows`, auc from model_quality where role = 'live' and hour is null and ds = '{ds}'",
    )
    assert live and all(count > 500 and auc > 0.5 for count, auc in live)


def test_the_short_term_store_has_the_predictions() -> None:
    airflow = AirflowApi.from_environment(os.environ)
    run(airflow, "refresh_serving")
    predictions, labelled = query_mysql(
        os.environ, f"select count(*), count(label) from recent_predictions where ds = '{DAY.isoformat()}'"
    )[0]
    assert predictions >= labelled > 500
