"""Borders and answers as they come in: the latest border, answers to one's own questions alone, and their AUC."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from include.streaming.messages import Progress, TileUpdate, encode
from include.target import BINARY
from local_stack.replay.topics import Read
from local_stack.replay.watching import Answers, Borders, PredictorBorders, TilesBehind, joined_skill

TEN = datetime(2013, 2, 4, 10, tzinfo=UTC)
ELEVEN = datetime(2013, 2, 4, 11, tzinfo=UTC)


def read(key: str, value: bytes | None) -> Read:
    return Read(0, 0, key, value, 0)


def prediction(subject: str, at: str, probability: float, **more: Any) -> Read:
    message = {"id": subject, "prediction_time": at, "probability": probability, "degraded": False, **more}
    return read(subject, json.dumps(message).encode())


def report(source: str, border: str) -> Read:
    progress = Progress(source, border, border, border)
    return read(progress.message_key, encode(progress))


def test_borders_move_with_reports_alone() -> None:
    borders = Borders({"a": TEN})
    assert borders.slowest(["a", "b"]) is None
    tile = TileUpdate("t", "k", "2013-02-04T10:00:00Z", [1])
    for message in (read(tile.message_key, encode(tile)), read("progress|a", b"{"), read("progress|a", None)):
        borders.note(message)
    assert borders.behind(TEN, ["a", "b"]) == {"b": None}
    borders.note(report("b", "2013-02-04T11:00:00Z"))
    assert borders.behind(ELEVEN, ["a", "b"]) == {"a": TEN}
    assert borders.slowest(["a", "b"]) == TEN
    with pytest.raises(TilesBehind, match="a have come to 10:00, not to 2013-02-04 11:00"):
        borders.wait_for(ELEVEN, ["a", "b"], 0.01)
    borders.note(report("a", "2013-02-04T11:00:00Z"))
    borders.wait_for(ELEVEN, ["a", "b"], 0.01)


def test_the_predictor_is_waited_for_until_it_holds_the_tiles() -> None:
    borders = iter([None, {"a": TEN}, {"a": TEN, "b": ELEVEN}, {"a": ELEVEN, "b": ELEVEN}])

    def metrics(request: httpx.Request) -> httpx.Response:
        known = next(borders)
        if known is None:
            raise httpx.ConnectError("away")
        lines = [f'stream_border_timestamp_seconds{{source="{s}"}} {b.timestamp()}' for s, b in known.items()]
        return httpx.Response(200, text="# TYPE stream_border_timestamp_seconds gauge\n" + "\n".join(lines) + "\n")

    predictor = PredictorBorders(httpx.Client(base_url="http://predictor", transport=httpx.MockTransport(metrics)))
    predictor.wait_for(ELEVEN, ["a", "b"], 30)
    assert next(borders, "all asked") == "all asked"


def at(*borders: datetime) -> httpx.Client:
    """A predictor that has come so far in the sources a, b, ...; without any it is away."""
    lines = [f'stream_border_timestamp_seconds{{source="{s}"}} {b.timestamp()}' for s, b in zip("ab", borders)]  # noqa: B905
    text = "# TYPE stream_border_timestamp_seconds gauge\n" + "\n".join(lines) + "\n"
    answer = httpx.MockTransport(lambda request: httpx.Response(200 if borders else 503, text=text))
    return httpx.Client(base_url="http://predictor", transport=answer)


def test_of_several_predictors_the_slowest_counts_and_one_that_is_away_does_not() -> None:
    assert PredictorBorders(at(ELEVEN, ELEVEN), at(ELEVEN, TEN)).behind(ELEVEN, ["a", "b"]) == {"b": TEN}
    assert PredictorBorders(at(ELEVEN, ELEVEN), at(ELEVEN)).behind(ELEVEN, ["a", "b"]) == {"b": None}
    assert PredictorBorders(at(ELEVEN, ELEVEN), at()).behind(ELEVEN, ["a", "b"]) == {}
    assert PredictorBorders(at(), at()).behind(ELEVEN, ["a"]) == {"a": None}


def test_a_predictor_that_does_not_follow_is_named() -> None:
    away = httpx.MockTransport(lambda request: httpx.Response(503))
    predictor = PredictorBorders(httpx.Client(base_url="http://predictor", transport=away))
    with pytest.raises(TilesBehind, match="in the predictor the tiles of a have come nowhere yet"):
        predictor.wait_for(ELEVEN, ["a"], 0.01)


def test_only_what_was_asked_counts_and_only_once() -> None:
    answers = Answers({"x": 1, "y": 0}, BINARY)
    answers.ask([("x", TEN), ("y", ELEVEN)])
    answers.note(prediction("z", "2013-02-04T10:00:00Z", 0.5))
    answers.note(prediction("x", "2013-02-04T11:00:00Z", 0.5))
    answers.note(read("x", b"not JSON"))
    assert (answers.asked, answers.answered) == (2, 0)
    answers.note(prediction("x", "2013-02-04T10:00:00Z", 0.7, degraded=True))
    answers.note(prediction("x", "2013-02-04T10:00:00Z", 0.9))
    assert answers.given() == {("x", TEN): 0.7}
    assert answers.degraded == 1
    assert answers.live_skill() is None
    assert not answers.wait_for_all(0.01)
    answers.note(prediction("y", "2013-02-04T11:00:00Z", 0.2))
    assert answers.wait_for_all(0.01)
    assert answers.live_skill() == 1.0


@given(st.dictionaries(st.text("abc", min_size=1), st.tuples(st.floats(0, 1), st.integers(0, 1), st.booleans())))
def test_auc_is_that_of_the_subjects_with_a_known_outcome(drawn: dict[str, tuple[float, int, bool]]) -> None:
    probabilities = {subject: p for subject, (p, _, _) in drawn.items()}
    outcomes = {subject: label for subject, (_, label, known) in drawn.items() if known}
    labels = list(outcomes.values())
    found = joined_skill(BINARY, probabilities, {**outcomes, "never asked": 1})
    if len(set(labels)) < 2:
        assert found is None
    else:
        assert found == pytest.approx(roc_auc_score(labels, [probabilities[subject] for subject in outcomes]))
