"""Whatever queries wait at the same time are computed as one batch: the fixed price of a batch is paid once for all.

Requests that arrive while the loop computes wait together and are computed next; a lone one waits for nobody. It knows
no HTTP: whoever asks says how it is to be told.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from speed_service.answering import answer
from speed_service.predictor import Answer
from speed_service.problems import Problem
from speed_service.queries import Query
from speed_service.service import Service

#: Subjects that may wait at once, and at most be computed together; a longer queue would only make all of them late.
MOST_WAITING = 20_000
MOST_TOGETHER = 1024

log = logging.getLogger(__name__)

Told = Callable[[Answer | Exception], None]
"""Takes the answer, or why there is none; called on the loop."""


class Waiting(NamedTuple):
    """A request: what is asked, and how to tell the answer."""

    queries: Sequence[Query]
    told: Told


class Batcher:
    """Computes the queries of all waiting requests together, on the running loop."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._waiting: list[Waiting] = []
        self._subjects = 0

    def ask(self, queries: Sequence[Query], told: Told) -> None:
        """Have ``told`` called with the answer; raises ``Problem`` when too many wait already."""
        if self._subjects + len(queries) > MOST_WAITING:
            detail = f"{self._subjects} subjects are waiting: try again"
            raise Problem(503, "overloaded", "Service Unavailable", detail, headers=(("Retry-After", "1"),))
        if not self._waiting:
            # Not in this turn of the loop but in the next one: what is being read meanwhile joins.
            asyncio.get_running_loop().call_soon(self._compute)
        self._waiting.append(Waiting(queries, told))
        self._subjects += len(queries)

    def _compute(self) -> None:
        """Answer what waits, as far as one batch goes, and come again for the rest."""
        self._service.telemetry.waiting.set(self._subjects)
        together = self._next()
        try:
            answers = self._answers(together)
        except Problem as problem:
            answers = [problem] * len(together)
        except Exception:
            answers = [self._alone(request) for request in together]  # the others shall not pay for one's fault
        for request, given in zip(together, answers, strict=True):
            try:
                request.told(given)
            except Exception:  # one that cannot be told shall not keep the others waiting
                log.exception("an answer could not be handed on")
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._compute)

    def _next(self) -> list[Waiting]:
        taken = subjects = 0
        for request in self._waiting:
            if taken and subjects + len(request.queries) > MOST_TOGETHER:
                break
            taken, subjects = taken + 1, subjects + len(request.queries)
        together, self._waiting = self._waiting[:taken], self._waiting[taken:]
        self._subjects -= subjects
        return together

    def _answers(self, together: Sequence[Waiting]) -> list[Answer | Exception]:
        """One answer a request, of one computation."""
        whole = answer(self._service, [query for request in together for query in request.queries]).answer
        answers: list[Answer | Exception] = []
        at = 0
        for request in together:
            answers.append(Answer(whole.model_id, whole.predictions[at : at + len(request.queries)]))
            at += len(request.queries)
        return answers

    def _alone(self, request: Waiting) -> Answer | Exception:
        try:
            return self._answers([request])[0]
        except Exception as error:
            return error
