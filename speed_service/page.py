"""The page at ``/``: what is served now and how to call it, for a person. Plain HTML, no scripts, no state."""

from html import escape

import msgspec

from speed_service.service import Service
from speed_service.telemetry import rfc3339

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}"
    "pre{background:#f4f4f4;padding:1rem;overflow:auto}dt{font-weight:600}.bad{color:#a40000}"
)


def render_page(service: Service, example: dict[str, object]) -> str:
    """The page as HTML text; ``example`` is a subject to put into the sample call."""
    name = escape(service.use_case.name)
    body = msgspec.json.format(msgspec.json.encode({"subjects": [example]}), indent=2).decode()
    call = (
        f"curl -sS -H \"Authorization: Bearer $PREDICTOR_TOKEN\" -H 'Content-Type: application/json' \\\n"
        f"  -d '{body}' \\\n  \"$PREDICTOR_URL/v1/{service.use_case.name}/predict\""
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{name} predictor</title><style>{_STYLE}</style>"
        f"<h1>{name} predictor</h1><p>{escape(service.use_case.comment)}</p>{_state(service)}"
        f"<h2>Ask for a prediction</h2><pre>{escape(call)}</pre>"
        f"<p><a href=/openapi.json>API description (OpenAPI)</a> · <a href=/v1/{name}/model>model</a> · "
        f"<a href=/metrics>metrics</a> · <a href=/readyz>ready?</a></p></html>"
    )


def _state(service: Service) -> str:
    champion, end = service.champion, service.history.end
    model = "none" if champion is None else f"{champion.model_id} (ledger line {champion.sequence})"
    tiles = "none" if end is None else f"up to {rfc3339(end)}, {len(service.history.days)} days"
    reasons = "".join(f"<p class=bad>Not ready: {escape(reason)}</p>" for reason in service.not_ready())
    return f"<dl><dt>Champion<dd>{escape(model)}<dt>Published tiles<dd>{escape(tiles)}</dl>{reasons}"
