"""Two ways to ask for predictions: a message on the queries topic, or a request to the predictor.

Both survive a predictor that dies: Kafka keeps the message, and a request is made again until it is answered.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from include.locations import Topics
from include.use_case import UseCase
from local_stack.replay.engine import Wire
from local_stack.replay.injection import Injector
from local_stack.replay.timeline import Query
from local_stack.replay.watching import Answers, Identity

REQUEST_SUBJECTS = 50
REQUESTS_AT_ONCE = 4
PATIENCE_SECONDS = 600.0
RETRY_SECONDS = 0.5
#: The predictor is away, starting, or has no model yet.
TRY_AGAIN = (429, 500, 502, 503, 504)


class PredictorAway(RuntimeError):
    """The predictor gave no answer for minutes; the message says what it gave last."""


@dataclass
class KafkaAsker:
    """Sends queries, disturbed or not, to the queries topic."""

    use_case: UseCase
    wire: Wire
    injector: Injector

    def ask(self, queries: Sequence[Query]) -> None:
        """Send the queries and wait until the brokers have them."""
        topic = Topics(self.use_case.name).queries
        for message in self.injector.queries(topic, self.use_case.subject, queries):
            self.wire.send(message.topic, message.key, message.value)
        self.wire.settle()


@dataclass
class HttpAsker:
    """Posts queries to the predictor, some at a time; ``refused`` collects those that it rejects, and why."""

    use_case: UseCase
    client: httpx.Client
    answers: Answers
    refused: dict[Identity, str] = field(default_factory=dict)

    @classmethod
    def at(cls, use_case: UseCase, environment: Mapping[str, str], answers: Answers) -> HttpAsker:
        """Ask the predictor that the environment names."""
        headers = {"Authorization": f"Bearer {environment['PREDICTOR_TOKEN']}"}
        return cls(use_case, httpx.Client(base_url=environment["PREDICTOR_URL"], headers=headers, timeout=30), answers)

    def ask(self, queries: Sequence[Query]) -> None:
        """Ask, and take the answers; raises ``PredictorAway``."""
        batches = [queries[i : i + REQUEST_SUBJECTS] for i in range(0, len(queries), REQUEST_SUBJECTS)]
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            list(pool.map(self._ask_some, batches))

    def _ask_some(self, queries: Sequence[Query]) -> None:
        answer = self._post({"subjects": [dict(query.subject) for query in queries]})
        if answer.status_code == 200:
            for query, given in zip(queries, answer.json()["predictions"], strict=True):
                self.answers.give((query.id, query.at), given[self.use_case.target.answer], given["degraded"])
        elif len(queries) > 1:
            for query in queries:
                self._ask_some([query])
        else:
            self.refused[queries[0].id, queries[0].at] = f"{answer.status_code} {answer.text[:200]}"

    def _post(self, body: Any) -> httpx.Response:
        """The first answer that is not "try again"."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            said, answer = self._attempt(body)
            if answer is not None:
                return answer
            if time.monotonic() > end:
                raise PredictorAway(f"no answer from the predictor for {PATIENCE_SECONDS:.0f} s; last: {said}")
            time.sleep(RETRY_SECONDS)

    def _attempt(self, body: Any) -> tuple[str, httpx.Response | None]:
        try:
            answer = self.client.post(f"/v1/{self.use_case.name}/predict", json=body)
        except httpx.TransportError as error:
            return f"{type(error).__name__}: {error}", None
        return f"{answer.status_code} {answer.text[:200]}", None if answer.status_code in TRY_AGAIN else answer
