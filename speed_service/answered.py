"""Which queries have been answered lately: the memory that makes delivery at least once into answers given once.

A query's identity is its subject's id and its prediction time. Times are Kafka's (milliseconds since 1970): when the
query and when the answer were sent, so that it does not matter how long a service was away. It does not know Kafka.
"""

import logging
from collections import defaultdict

log = logging.getLogger(__name__)

#: About 150 MB; at 500 queries a second an hour has 1.8 million.
MOST_REMEMBERED = 2_000_000
PARTS_OF_HORIZON = 12

Identity = tuple[str, int]


class Answered:
    """Identities by the time of their answer, in parts of the horizon, so that the oldest go together.

    An answer counts for the horizon and at most one part more. Kept as 64-bit hashes: that any two of two million
    identities share one has a probability of one in ten million.
    """

    def __init__(self, horizon: int, most: int = MOST_REMEMBERED) -> None:
        self._horizon = horizon
        self._width = max(1, horizon // PARTS_OF_HORIZON)
        self._most = most
        self._parts: defaultdict[int, set[int]] = defaultdict(set)

    def __len__(self) -> int:
        return sum(map(len, self._parts.values()))

    def add(self, identity: Identity, answered: int) -> None:
        """Remember that ``identity`` was answered at a time."""
        self._parts[answered // self._width].add(hash(identity))

    def covers(self, identity: Identity, asked: int) -> bool:
        """Whether a query asked at a time was answered since, or within the horizon before."""
        oldest, wanted = (asked - self._horizon) // self._width, hash(identity)
        return any(wanted in answered for part, answered in self._parts.items() if part >= oldest)

    def forget(self, asked: int) -> None:
        """Drop what no query asked at ``asked`` or later can repeat, and the oldest where there are too many."""
        oldest = (asked - self._horizon) // self._width
        for part in sorted(self._parts):
            if part >= oldest and len(self) <= self._most:
                break
            if part >= oldest:
                log.warning("more than %d answered queries: the oldest are forgotten within the horizon", self._most)
            del self._parts[part]
