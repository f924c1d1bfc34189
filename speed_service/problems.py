"""Errors as RFC 9457 problem details: one shape for everything that is not an answer, never an HTML page.

It knows HTTP, not the domain.
"""

import logging
from dataclasses import dataclass

import msgspec
from flask import Flask, Response
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from include.streaming.messages import PROBLEM_TYPE

log = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with one place of the request: ``field`` like ``subjects[3].distance``, and why."""

    field: str
    reason: str


class Problem(Exception):
    """A request that cannot be answered; becomes a ``application/problem+json`` response."""

    def __init__(
        self,
        status: int,
        kind: str,
        title: str,
        detail: str,
        errors: tuple[FieldError, ...] = (),
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.title = title
        self.detail = detail
        self.errors = errors
        self.headers = headers

    def body(self) -> bytes:
        """The problem document: type, title, status, detail, and ``errors`` when single fields are at fault."""
        body: dict[str, object] = {
            "type": PROBLEM_TYPE + self.kind,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = [{"field": error.field, "reason": error.reason} for error in self.errors]
        return msgspec.json.encode(body)

    def head(self) -> tuple[tuple[str, str], ...]:
        """The headers of the response."""
        return (("Content-Type", PROBLEM_JSON), *self.headers)

    def response(self) -> Response:
        """The document as Flask's response."""
        return Response(self.body(), self.status, self.head())


def from_http_exception(error: HTTPException) -> Problem:
    """The problem for an error that Flask or Werkzeug raised (unknown path, wrong method, body too large)."""
    status = error.code or 500
    name = error.name if status != 413 else "Content Too Large"
    kind = "body-too-large" if isinstance(error, RequestEntityTooLarge) else name.lower().replace(" ", "-")
    headers = tuple((k, v) for k, v in error.get_headers() if k.lower() == "allow")
    return Problem(status, kind, name, error.description or name, headers=headers)


def internal_error() -> Problem:
    """What is told of an error that nobody foresaw; the rest is in the log."""
    return Problem(500, "internal-error", "Internal Server Error", "the error is in the service's log")


def init_problems(app: Flask) -> None:
    """Make every error of the app a problem document; an unforeseen one is logged whole and told as a bare 500."""

    def on_problem(problem: Problem) -> Response:
        return problem.response()

    def on_http(error: HTTPException) -> Response:
        return from_http_exception(error).response()

    def on_crash(error: Exception) -> Response:
        log.exception("unhandled error in a request")
        return internal_error().response()

    app.register_error_handler(Problem, on_problem)
    app.register_error_handler(HTTPException, on_http)
    app.register_error_handler(Exception, on_crash)
