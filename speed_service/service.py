"""What one process of the service holds: its settings, its use case, the champion, the tiles and the meters.

The champion and the history are replaced whole by one assignment, so that a request, which reads each of them once,
never sees half of either and never waits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from include.use_case import UseCase
from speed_service.champion import Champion
from speed_service.config import ServiceConfig
from speed_service.history import History
from speed_service.prediction_log import PredictionLog
from speed_service.predictor import Prediction
from speed_service.queries import Query, QueryReader
from speed_service.telemetry import Telemetry


@dataclass
class Service:
    """The state of one app. Only the watcher threads assign; requests read."""

    config: ServiceConfig
    use_case: UseCase
    telemetry: Telemetry
    history: History
    reader: QueryReader = field(init=False)
    prediction_log: PredictionLog | None = None
    champion: Champion | None = None
    model_reason: str = "the ledger has not been read yet"
    tiles_reason: str = "the tiles have not been read yet"
    stream_reason: str = "the tiles topic has not been read yet"
    last_rejection: str = ""
    #: Ends the threads beside the requests, in good order.
    stop_background: Callable[[], None] = lambda: None
    #: The minute (since 1970) of the last prediction time, and until when each source was seen then.
    last_seen: tuple[int, Mapping[str, int]] | None = None

    def __post_init__(self) -> None:
        self.reader = QueryReader(self.use_case, self.config.max_subjects)

    def swap_champion(self, champion: Champion) -> None:
        """Serve ``champion`` from the next request on."""
        self.champion = champion
        self.model_reason = ""
        self.last_rejection = ""
        self.telemetry.serves(champion.model_id, champion.sequence)

    def swap_history(self, history: History) -> None:
        """Use ``history`` from the next request on."""
        self.history = history
        self.tiles_reason = "" if history.days else "no day of tiles has been published yet"
        self.telemetry.tile_version.set(history.version)
        self.telemetry.tile_rows.set(history.rows)
        if history.end is not None:
            self.telemetry.tile_end.set(history.end.timestamp())
        for source, progress in history.progress.items():
            self.telemetry.live_border.labels(source).set(progress.border * 60)

    def note_answers(self, predictions: Sequence[Prediction], queries: Sequence[Query]) -> None:
        """Count answers that were given, and note what the last of them could see."""
        self.telemetry.answered(predictions)
        minute = queries[-1].prediction_minute
        self.last_seen = minute, self.history.seen(minute).until

    def note_freshness(self) -> None:
        """Put into the meters how far each source lay behind the last prediction time."""
        if self.last_seen is not None:
            minute, until = self.last_seen
            self.telemetry.saw(until, minute)

    def stream_read(self) -> None:
        """What had been streamed when the service started is in the history (or nothing ever was)."""
        self.stream_reason = ""

    def model_rejected(self, why: str) -> None:
        """A bundle failed its checks; the one at hand, if any, stays."""
        self.telemetry.swaps.labels("rejected").inc()
        self.last_rejection = why
        if self.champion is None:
            self.model_reason = why

    def model_unreadable(self, why: str) -> None:
        """The ledger or a bundle could not be read; it is being tried again."""
        if self.champion is None:
            self.model_reason = why

    def tiles_unreadable(self, why: str) -> None:
        """The tiles could not be read; those at hand, if any, stay."""
        if not self.history.days:
            self.tiles_reason = why

    def not_ready(self) -> tuple[str, ...]:
        """Why the service cannot answer well yet; empty when it can."""
        model = "" if self.champion is not None else self.model_reason or "no model has been promoted yet"
        tiles = "" if self.history.days else self.tiles_reason
        return tuple(reason for reason in (model, tiles, self.stream_reason) if reason)
