"""Our whole service, S3 and Kafka included, under a use-case name of the benchmark's own (``LAMBDA_DL_USE_CASE``)."""

import speed_service.app
from tests.bench.speed.renamed_stream import renamed

speed_service.app.load_use_case = renamed  # type: ignore[attr-defined, assignment]

from speed_service.asgi import app  # noqa: E402

__all__ = ["app"]
