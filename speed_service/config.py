"""What the service needs to know to start: a typed view of environment variables.

A missing or malformed one stops start-up with a line that names it. Secrets never appear in ``repr``.
It does not know how anything is used.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from include.settings import KafkaSettings, S3Settings, SettingError, require
from include.use_cases import chosen_use_case

MIN_TOKEN_LENGTH = 16


@dataclass(frozen=True)
class ServiceConfig:
    """Settings of one process of the service.

    ``s3`` may be a read-only key: the service only reads. ``tile_days`` bounds memory: only that many of the newest
    published days are held. ``max_body_bytes`` and ``max_subjects`` bound one request. ``instance`` names this
    process in receipts and metrics. ``log_http``: answers over HTTP are logged on the predictions topic too.
    ``query_horizon_seconds``: how long the identity of an answered query is remembered.
    """

    use_case: str
    token: str = field(repr=False)
    s3: S3Settings
    kafka: KafkaSettings
    instance: str
    tile_days: int = 31
    tile_poll_seconds: float = 15.0
    metrics_seconds: float = 60.0
    retry_seconds: float = 2.0
    max_body_bytes: int = 1 << 20
    max_subjects: int = 1000
    log_http: bool = True
    query_horizon_seconds: float = 3600.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "ServiceConfig":
        """Read ``PREDICTOR_TOKEN``, the S3 and Kafka settings, and the optional ``LAMBDA_DL_*`` ones.

        ``PREDICTOR_S3_ACCESS_KEY`` and ``PREDICTOR_S3_SECRET_KEY``, the service's own read-only pair, go before the
        general S3 keys when set. Raises ``SettingError`` naming the variable at fault.
        """
        return cls(
            use_case=chosen_use_case(environment),
            token=_token(environment),
            s3=_s3(environment),
            kafka=KafkaSettings.from_environment(environment),
            instance=environment.get("LAMBDA_DL_INSTANCE", f"{socket.gethostname()}-{os.getpid()}"),
            tile_days=int(_number(environment, "LAMBDA_DL_TILE_DAYS", cls.tile_days, minimum=1)),
            tile_poll_seconds=_number(environment, "LAMBDA_DL_TILE_POLL_SECONDS", cls.tile_poll_seconds),
            metrics_seconds=_number(environment, "LAMBDA_DL_METRICS_SECONDS", cls.metrics_seconds),
            retry_seconds=_number(environment, "LAMBDA_DL_RETRY_SECONDS", cls.retry_seconds),
            max_body_bytes=int(_number(environment, "LAMBDA_DL_MAX_BODY_BYTES", cls.max_body_bytes, minimum=1)),
            max_subjects=int(_number(environment, "LAMBDA_DL_MAX_SUBJECTS", cls.max_subjects, minimum=1)),
            log_http=_switch(environment, "LAMBDA_DL_LOG_HTTP", cls.log_http),
            query_horizon_seconds=_number(environment, "LAMBDA_DL_QUERY_HORIZON_SECONDS", cls.query_horizon_seconds),
        )


def _token(environment: Mapping[str, str]) -> str:
    token = require(environment, "PREDICTOR_TOKEN")
    if len(token) < MIN_TOKEN_LENGTH:
        raise SettingError(f"setting PREDICTOR_TOKEN is shorter than {MIN_TOKEN_LENGTH} characters")
    return token


def _s3(environment: Mapping[str, str]) -> S3Settings:
    own = {
        name: environment[f"PREDICTOR_{name}"]
        for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY")
        if environment.get(f"PREDICTOR_{name}")
    }
    if len(own) == 1:
        raise SettingError("set both PREDICTOR_S3_ACCESS_KEY and PREDICTOR_S3_SECRET_KEY, or neither")
    return S3Settings.from_environment({**environment, **own})


def _switch(environment: Mapping[str, str], name: str, default: bool) -> bool:
    text = environment.get(name, "").lower()
    if text not in ("", "1", "0", "true", "false"):
        raise SettingError(f"setting {name} is {text!r}, which is neither 1 nor 0")
    return text in ("1", "true") if text else default


def _number(environment: Mapping[str, str], name: str, default: float, minimum: float = 0.1) -> float:
    text = environment.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise SettingError(f"setting {name} is {text!r}, which is not a number") from None
    if not minimum <= value < float("inf"):
        raise SettingError(f"setting {name} is {text}, which is below {minimum}")
    return value
