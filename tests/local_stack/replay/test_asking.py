"""Questions over HTTP: asked again until answered, every answer taken, a refusal that concerns one subject only."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from include.target import BINARY
from include.use_case import load_use_case
from local_stack.replay.asking import HttpAsker, PredictorAway
from local_stack.replay.timeline import Query
from local_stack.replay.watching import Answers

USE_CASE = load_use_case("flight_delay")
TEN = datetime(2013, 2, 4, 10, tzinfo=UTC)
QUERIES = [Query(f"q{n}", TEN + timedelta(minutes=n), {"id": f"q{n}"}) for n in range(120)]


def asker(handle: Callable[[httpx.Request], httpx.Response]) -> HttpAsker:
    answers = Answers({}, BINARY)
    answers.ask((query.id, query.at) for query in QUERIES)
    client = httpx.Client(base_url="http://predictor", transport=httpx.MockTransport(handle))
    return HttpAsker(USE_CASE, client, answers)


def answered(request: httpx.Request) -> httpx.Response:
    subjects = json.loads(request.content)["subjects"]
    return httpx.Response(
        200, json={"predictions": [{"id": s["id"], "probability": 0.5, "degraded": False} for s in subjects]}
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_stack.replay.asking.RETRY_SECONDS", 0.0)


def test_a_predictor_that_is_away_is_asked_again() -> None:
    faults = iter([httpx.ConnectError("refused"), httpx.ReadError("died"), 503, 502])

    def handle(request: httpx.Request) -> httpx.Response:
        fault = next(faults, None)
        if isinstance(fault, Exception):
            raise fault
        return answered(request) if fault is None else httpx.Response(fault)

    asking = asker(handle)
    asking.ask(QUERIES)
    assert asking.answers.answered == len(QUERIES)
    assert not asking.refused


def test_only_the_subject_that_is_refused_goes_without_an_answer() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        subjects = json.loads(request.content)["subjects"]
        return httpx.Response(422, text="no") if any(s["id"] == "q7" for s in subjects) else answered(request)

    asking = asker(handle)
    asking.ask(QUERIES)
    assert asking.refused == {("q7", QUERIES[7].at): "422 no"}
    assert asking.answers.answered == len(QUERIES) - 1


def test_a_predictor_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_stack.replay.asking.PATIENCE_SECONDS", 0.0)
    with pytest.raises(PredictorAway, match="503 starting"):
        asker(lambda _request: httpx.Response(503, text="starting")).ask(QUERIES[:1])
