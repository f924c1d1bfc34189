"""Disturbances of a replay: facts sent twice, broken ones beside them, facts that come after their tiles have closed.

What happens to a fact follows from the seed and its identity alone, so that a replay can be repeated. Pure. It does not
know what the layers make of it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from include.contracts.contract import Contract
from include.declaration import PREDICTION_TIME
from local_stack.replay.timeline import Fact, Query

BROKEN = "~broken"
NOT_A_TIME = "yesterday at noon"


@dataclass(frozen=True)
class Shares:
    """Of all facts and queries, how many are sent twice or accompanied by a broken one; of facts, how many are late."""

    duplicates: float = 0.0
    bad: float = 0.0
    late: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to send: ``topic`` is a source's name, or the name of the queries."""

    topic: str
    key: str
    value: bytes


@dataclass
class Injector:
    """Turns the facts of one step after the other into messages, and holds back what is to come a step later."""

    shares: Shares
    contracts: Mapping[str, Contract]
    _held: list[Outgoing] = field(default_factory=list)

    def facts(self, facts: Iterable[Fact]) -> list[Outgoing]:
        """The messages of a step: what was held back before it, then its own facts, disturbed."""
        messages, self._held = self._held, []
        for fact in facts:
            messages += self._disturbed(fact)
        return messages

    def rest(self) -> list[Outgoing]:
        """What is still held back."""
        held, self._held = self._held, []
        return held

    def _disturbed(self, fact: Fact) -> list[Outgoing]:
        chance = random.Random(f"{self.shares.seed}|{fact.source}|{fact.id}")
        message = Outgoing(fact.source, fact.id, encoded(fact.record))
        if chance.random() < self.shares.late:
            self._held.append(message)
            return []
        messages = [message]
        if chance.random() < self.shares.bad:
            messages.append(broken(self.contracts[fact.source], fact.source, fact.record, chance))
        if chance.random() < self.shares.duplicates:
            # Half of them come at once, half only with the next step, when their tile has closed.
            (messages if chance.random() < 0.5 else self._held).append(message)
        return messages

    def queries(self, topic: str, contract: Contract, queries: Iterable[Query]) -> list[Outgoing]:
        """The messages of some queries; a second one follows its first at once."""
        messages: list[Outgoing] = []
        for query in queries:
            chance = random.Random(f"{self.shares.seed}|{topic}|{query.id}")
            message = Outgoing(topic, query.id, encoded(query.subject))
            twice = chance.random() < self.shares.duplicates
            messages += [message] * (2 if twice else 1)
            if chance.random() < self.shares.bad:
                messages.append(broken(contract, topic, query.subject, chance))
        return messages


def encoded(record: Mapping[str, Any]) -> bytes:
    """A record as a JSON object."""
    return json.dumps(record, separators=(",", ":")).encode()


def broken(contract: Contract, topic: str, record: Mapping[str, Any], chance: random.Random) -> Outgoing:
    """A message like ``record``, under an id of its own, that no contract can accept."""
    identity = f"{record[contract.key]}{BROKEN}"
    spoiled = {**record, contract.key: identity}
    required = [f for f in contract.fields if not f.nullable and f.name not in (contract.key, PREDICTION_TIME)]
    way = chance.randrange(3)
    if way == 0:
        return Outgoing(topic, identity, encoded(spoiled)[:-1])  # no JSON: the last brace is missing
    victim = chance.choice(required)
    spoiled[victim.name] = None if way == 1 or victim.type == "string" else NOT_A_TIME
    return Outgoing(topic, identity, encoded(spoiled))
