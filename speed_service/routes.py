"""The HTTP paths. Each function says what one path answers; what goes wrong is a ``Problem``.

It knows HTTP and the parts it calls, and no domain: the use case names the path.
"""

import time
from collections.abc import Callable
from functools import wraps

import msgspec
from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from speed_service import openapi
from speed_service.answering import JSON, answer, body_too_large, check_head, encoded
from speed_service.page import render_page
from speed_service.problems import Problem, from_http_exception
from speed_service.service import Service
from speed_service.telemetry import rfc3339

blueprint = Blueprint("speed_service", __name__)
_encoder = msgspec.json.Encoder()


def _service() -> Service:
    service = current_app.extensions["speed_service"]
    assert isinstance(service, Service)
    return service


def _json(body: object, status: int = 200) -> Response:
    return Response(_encoder.encode(body), status, content_type=JSON)


def _counted(view: Callable[[str], Response]) -> Callable[[str], Response]:
    """Time a predict request, and count what is rejected by kind of problem."""

    @wraps(view)
    def timed(use_case: str) -> Response:
        telemetry, start = _service().telemetry, time.perf_counter()
        try:
            return view(use_case)
        except HTTPException as error:
            problem = from_http_exception(error)
            telemetry.rejected.labels(problem.kind).inc()
            raise problem from error
        except Problem as problem:
            telemetry.rejected.labels(problem.kind).inc()
            raise
        finally:
            telemetry.latency.observe(time.perf_counter() - start)

    return timed


@blueprint.post("/v1/<use_case>/predict")
@_counted
def predict(use_case: str) -> Response:
    """Answers for one or many subjects, in their order: the way for servers that know only WSGI."""
    service = _service()
    _check_use_case(service, use_case)
    check_head(service, request.headers.get("Authorization", ""), request.headers.get("Content-Type", ""))
    return Response(encoded(answer(service, service.reader.read(_body(service))).answer), content_type=JSON)


@blueprint.get("/v1/<use_case>/model")
def model(use_case: str) -> Response:
    """Which model is served, since when, how good it was on its test days, and which tiles it sees."""
    service = _service()
    _check_use_case(service, use_case)
    champion, history = service.champion, service.history
    if champion is None:
        raise Problem(503, "no-model", "Service Unavailable", service.not_ready()[0])
    return _json(
        {
            "use_case": service.use_case.name,
            "model_id": champion.model_id,
            "sequence": champion.sequence,
            "promoted_at": champion.promoted_at,
            "loaded_at": rfc3339(champion.loaded_at),
            "features_hash": champion.bundle.features_hash,
            "metrics": champion.bundle.metrics,
            "tiles": {
                "version": history.version,
                "days": sorted(day.isoformat() for day in history.days),
                "end": None if history.end is None else rfc3339(history.end),
            },
            "last_rejection": service.last_rejection or None,
        }
    )


@blueprint.get("/healthz")
def healthz() -> Response:
    """The process is alive; says nothing about the model."""
    return _json({"status": "ok", "instance": _service().config.instance})


@blueprint.get("/readyz")
def readyz() -> Response:
    """200 when a model and tiles are loaded; 503 with the reasons until then."""
    service = _service()
    reasons = service.not_ready()
    if reasons:
        raise Problem(503, "not-ready", "Service Unavailable", "; ".join(reasons), headers=(("Retry-After", "5"),))
    champion = service.champion
    return _json({"status": "ready", "model_id": None if champion is None else champion.model_id})


@blueprint.get("/metrics")
def metrics() -> Response:
    """Prometheus' text format."""
    service = _service()
    service.note_freshness()
    return Response(service.telemetry.exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")


@blueprint.get("/openapi.json")
def openapi_json() -> Response:
    """The description of these paths, generated from the use case's contract."""
    service = _service()
    return _json(openapi.document(service.use_case, service.config.max_subjects))


@blueprint.get("/")
def page() -> Response:
    """A page for people."""
    service = _service()
    html, policy = render_page(service, openapi.example_subject(service.use_case))
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return Response(html, content_type="text/html; charset=utf-8", headers=headers)


def _check_use_case(service: Service, name: str) -> None:
    if name != service.use_case.name:
        detail = f"no use case {name!r} here; this service serves {service.use_case.name!r}"
        raise Problem(404, "not-found", "Not Found", detail)


def _body(service: Service) -> bytes:
    try:
        return request.get_data(cache=False)
    except RequestEntityTooLarge:
        raise body_too_large(service) from None
