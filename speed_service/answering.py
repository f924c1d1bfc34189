"""What every way of answering a predict request over HTTP has in common: the checks of its head, the prediction, the
counting. The event loop's front and Flask's route differ only in how they read and write. It knows no HTTP library.
"""

import hmac
from collections.abc import Sequence

import msgspec

from speed_service.predictor import Answer, Predicted, predict
from speed_service.problems import Problem
from speed_service.queries import Query
from speed_service.service import Service

JSON = "application/json"
_encoder = msgspec.json.Encoder()


def check_head(service: Service, authorization: str, content_type: str) -> None:
    """Raise ``Problem`` unless the request is signed in and says that it sends JSON."""
    scheme, _, token = authorization.partition(" ")
    # Compared in constant time, as bytes: a header may hold what ASCII does not.
    given, wanted = token.strip().encode("utf-8", "surrogateescape"), service.config.token.encode()
    if scheme.lower() != "bearer" or not hmac.compare_digest(given, wanted):
        detail = "send the header 'Authorization: Bearer <PREDICTOR_TOKEN>'"
        raise Problem(401, "unauthorized", "Unauthorized", detail, headers=(("WWW-Authenticate", "Bearer"),))
    kind = content_type.partition(";")[0].strip().lower()
    if kind != JSON:
        detail = f"send Content-Type: {JSON}, not {kind or 'none'}"
        raise Problem(415, "unsupported-media-type", "Unsupported Media Type", detail)


def body_too_large(service: Service) -> Problem:
    """What to raise for a body over the limit."""
    detail = f"the body may have at most {service.config.max_body_bytes} bytes"
    return Problem(413, "body-too-large", "Content Too Large", detail)


def answer(service: Service, queries: Sequence[Query]) -> Predicted:
    """Predict with the champion and the tiles of this moment; raises ``Problem`` while there is no champion."""
    champion = service.champion
    if champion is None:
        raise Problem(503, "no-model", "Service Unavailable", service.not_ready()[0], headers=(("Retry-After", "5"),))
    predicted = predict(service.use_case, champion, service.history, queries)
    service.note_answers(predicted.answer.predictions, queries)
    if service.prediction_log is not None:
        service.prediction_log.add(champion, predicted.answer, queries, predicted.columns)
    return predicted


def encoded(answer: Answer) -> bytes:
    """The body of a response."""
    return _encoder.encode(answer)
