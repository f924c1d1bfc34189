"""A live feeder on a real broker: everything known today goes out, and after a restart it goes on without a gap."""

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.locations import Topics
from include.use_case import UseCase
from include.use_cases.flight_delay import replay as shipped
from local_stack import live
from local_stack.replay.timeline import announced_facts, day_start, read_span
from local_stack.replay.topics import read_topic
from tests.local_stack.replay.conftest import SHIPPED, StandIn

pytestmark = pytest.mark.integration


class Enough(Exception):
    """Ends a live run in a test."""


def live_for(steps: int, use_case: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the feeder for some steps."""
    left = iter(range(steps))

    def pass_time(_nights: live.Nights, _now: datetime) -> None:
        if next(left, None) is None:
            raise Enough

    monkeypatch.setattr(live.Nights, "pass_time", pass_time)
    with pytest.raises(Enough):
        live.live(use_case, os.environ, live.utc_now().date(), timedelta(seconds=1))


def sent(use_case: UseCase, source: str) -> list[dict[str, Any]]:
    topic = Topics(use_case.name).facts(source)
    return [json.loads(read.value or b"") for read in read_topic(os.environ["KAFKA_BOOTSTRAP"], topic)]


def test_today_goes_out_and_a_restart_goes_on(
    use_case: UseCase, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local_stack.replay.timeline._module", lambda _: shipped)
    began = datetime.now(UTC)
    for _ in range(2):
        live_for(3, use_case, monkeypatch)
    today, _ = read_span(SHIPPED, began.date(), datetime.now(UTC).date(), redated=True)
    # What became known yesterday about today goes out first, and once: the restart does not send it again.
    announced = announced_facts(SHIPPED, day_start(began.date()), {}, redated=True)
    assert {fact.source for fact in announced} == {"schedule"}
    for contract in use_case.sources:
        messages = sent(use_case, contract.name)
        beats = [message["complete_through"] for message in messages if "complete_through" in message]
        facts = [message["id"] for message in messages if "complete_through" not in message]
        assert beats == sorted(beats) and len(beats) >= 6
        complete = datetime.fromisoformat(beats[-1])
        assert complete >= began
        known = [*announced, *(fact for fact in today if fact.available < complete)]
        assert facts == [fact.id for fact in known if fact.source == contract.name]
