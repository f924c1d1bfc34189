"""The command line, the progress line and the table of books."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from include.target import BINARY
from include.use_case import load_use_case
from local_stack.faults import StackError
from local_stack.replay import __main__ as command
from local_stack.replay.__main__ import parse_arguments, plan_of
from local_stack.replay.books import Book
from local_stack.replay.drills import Kill
from local_stack.replay.engine import Counts
from local_stack.replay.progress import ProgressLine, lag_words
from local_stack.replay.tables import books_table
from local_stack.replay.watching import Answers, Borders

TEN = datetime(2013, 2, 4, 10, tzinfo=UTC)


def test_days_are_whole_and_minutes_exact() -> None:
    options = parse_arguments(["--from", "2013-02-04", "--to", "2013-02-06", "--kill", "stream@14:30", "--bad", "0.1"])
    assert (options.begin, options.end) == (datetime(2013, 2, 4, tzinfo=UTC), datetime(2013, 2, 7, tzinfo=UTC))
    assert options.kill == [Kill("stream", timedelta(hours=14, minutes=30))]
    assert options.bad == 0.1
    options = parse_arguments(["--from", "2013-02-04T06:00", "--to", "2013-02-04T07:30Z"])
    assert options.end - options.begin == timedelta(minutes=90)
    assert parse_arguments([]).begin is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["--from", "2013-02-05", "--to", "2013-02-04"],
        ["--speed", "0"],
        ["--step-minutes", "0"],
        ["--duplicates", "1.5"],
        ["--kill", "stream"],
        ["--from", "tomorrow"],
    ],
)
def test_nonsense_is_refused_with_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(arguments)
    assert "usage: python -m local_stack.replay" in capsys.readouterr().err


def test_an_end_that_the_layers_have_passed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "borders_now", lambda *_: {"departures": TEN})
    monkeypatch.setattr(command, "published_end", lambda _: None)
    use_case, kafka = load_use_case("flight_delay"), {"KAFKA_BOOTSTRAP": "nowhere"}
    assert plan_of(parse_arguments(["--to", "2013-02-04"]), use_case, kafka).begin == TEN
    with pytest.raises(StackError, match="--to lies before 2013-02-04T10:00, where the layers' days end"):
        plan_of(parse_arguments(["--to", "2013-02-03"]), use_case, kafka)


class Terminal(io.StringIO):
    """A file that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def line_on(out: io.StringIO) -> ProgressLine:
    answers = Answers({"a": 1, "b": 0}, BINARY)
    answers.ask([("a", TEN), ("b", TEN), ("c", TEN)])
    answers.give(("a", TEN), 0.9, False)
    answers.give(("b", TEN), 0.1, False)
    return ProgressLine(Borders({"s": TEN - timedelta(minutes=30)}), answers, ["s"], out)


def test_the_line_says_time_rates_lag_and_quality() -> None:
    text = line_on(io.StringIO()).text(Counts(100, 40, TEN), 10.0)
    assert text == (
        "2013-02-04 10:00  facts 100 (10/s)  queries 40 (4/s)  tiles 30 min behind  unanswered 1  AUC 1.0000"
    )
    assert lag_words(TEN, TEN) == "abreast" and lag_words(TEN, None) == "not seen"


def test_a_terminal_is_redrawn_and_a_log_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 101.0, 111.0, 100.0, 101.0, 101.1])
    monkeypatch.setattr("local_stack.replay.progress.time.monotonic", lambda: next(times))
    log, terminal = io.StringIO(), Terminal()
    for out in (log, terminal):
        line = line_on(out)
        for _ in range(3):
            line(Counts(1, 1, TEN))
    assert log.getvalue().count("\n") == 2 and "\r" not in log.getvalue()
    assert terminal.getvalue().count("\r") == 2 and "\n" not in terminal.getvalue()


def test_the_table_of_books_fits_a_terminal() -> None:
    good = Book("departures", 10, {"counted": 7, "late": 1, "rejected": 1, "conflicting": 1, "duplicate": 0})
    bad = Book("queries", 3, {"predictions": 2, "rejected": 0, "duplicate": 0}, ("q",))
    out = io.StringIO()
    Console(file=out, width=80).print(books_table([good, bad]))
    rows = [line for line in out.getvalue().splitlines() if "departures" in line or "queries" in line]
    assert [cell.strip() for cell in rows[0].strip("│").split("│")] == ["departures", "10", "7", "1", "2", "0", "yes"]
    assert rows[1].rstrip(" │").endswith("no")
    assert bad.words() == "queries: 3 in ≠ 2 predictions + 0 rejected + 0 duplicate; missing: q"
