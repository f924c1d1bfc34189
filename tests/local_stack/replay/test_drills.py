"""A drill kills the whole process group of a running server, and nothing that does not run."""

import signal
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from local_stack.faults import StackError
from local_stack.replay.drills import Kill, drill_of, kill_server, parse_kill
from local_stack.stack import Stack

BEGIN = datetime(2013, 2, 4, 6, tzinfo=UTC)


def test_a_drill_is_a_server_and_a_time_of_day() -> None:
    for server in ("stream", "stream-bike_share"):
        assert parse_kill(f"{server}@14:30") == Kill(server, timedelta(hours=14, minutes=30))
    for text in ("stream", "stream@24:00", "stream@7:30", "@12:00", "stream@12:00:00"):
        with pytest.raises(ValueError, match="SERVER@HH:MM"):
            parse_kill(text)


def test_a_time_of_day_is_the_first_after_the_beginning() -> None:
    assert parse_kill("kafka@06:00").first_after(BEGIN) == BEGIN
    assert parse_kill("kafka@14:30").first_after(BEGIN) == datetime(2013, 2, 4, 14, 30, tzinfo=UTC)
    assert parse_kill("kafka@03:00").first_after(BEGIN) == datetime(2013, 2, 5, 3, tzinfo=UTC)


def test_the_process_group_dies_at_once(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["bash", "-c", "trap '' TERM; sleep 600 & wait"], start_new_session=True) as process:
        monkeypatch.setattr("local_stack.replay.drills.process_states", lambda _: {"stream": ("RUNNING", process.pid)})
        said: list[str] = []
        drill = drill_of(stack, Kill("stream", timedelta()), BEGIN, said.append)
        drill.act()
        assert process.wait(20) == -signal.SIGKILL
        assert said == [f"kill -9 stream (process group {process.pid})"]


@pytest.mark.parametrize("states", [{}, {"stream": ("BACKOFF", 0)}, {"kafka": ("RUNNING", 99)}])
def test_what_does_not_run_is_not_killed(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, states: dict[str, tuple[str, int]]
) -> None:
    monkeypatch.setattr("local_stack.replay.drills.process_states", lambda _: states)
    with pytest.raises(StackError, match="stream cannot be killed"):
        kill_server(stack, "stream", print)
