"""The page at ``/``: try a prediction by hand, see the model, how fresh the facts are, and how long answers take.

Plain HTML with one inline script, allowed by its nonce alone; the token that is typed in is kept nowhere.
"""

import secrets
from collections.abc import Iterator
from html import escape

import msgspec

from include.streaming.messages import minute_text
from speed_service.service import Service
from speed_service.telemetry import rfc3339

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c}"
    "pre,textarea{font:14px/1.4 ui-monospace,monospace;background:#f4f4f4;padding:.8rem;border:1px solid #ddd;"
    "border-radius:6px;width:100%;box-sizing:border-box;overflow:auto}textarea{height:14rem}"
    "table{border-collapse:collapse}td,th{padding:.2rem 1.2rem .2rem 0;text-align:left;vertical-align:top}"
    "th{font-weight:600}input,button{font:inherit;padding:.4rem .7rem}input{width:24rem;max-width:100%}"
    ".bad{color:#a40000}.big{font-size:1.6rem}"
)
_SCRIPT = """
const said = p => 'probability' in p ? (100 * p.probability).toFixed(1) + ' %' : p.value.toFixed(1);
const form = document.getElementById('ask'), out = document.getElementById('answer');
form.addEventListener('submit', async event => {
  event.preventDefault();
  out.className = ''; out.textContent = 'asking…';
  const began = performance.now();
  try {
    const reply = await fetch(form.dataset.path, {method: 'POST', body: form.body.value,
      headers: {'Content-Type': 'application/json', 'Authorization': 'Bearer ' + form.token.value}});
    const document_ = await reply.json(), took = (performance.now() - began).toFixed(1);
    out.className = reply.ok ? '' : 'bad';
    const head = reply.ok ? document_.predictions.map(p => p.id + ': ' + said(p)
      + (p.degraded ? ' (degraded)' : '')).join('\\n') : document_.title + ': ' + document_.detail;
    out.textContent = head + '\\n' + took + ' ms there and back\\n\\n' + JSON.stringify(document_, null, 2);
  } catch (error) { out.className = 'bad'; out.textContent = 'no answer: ' + error; }
});
"""


def render_page(service: Service, example: dict[str, object]) -> tuple[str, str]:
    """The page as HTML text, and its Content-Security-Policy; ``example`` is a subject to begin with."""
    name = escape(service.use_case.name)
    nonce = secrets.token_urlsafe(16)
    path = f"/v1/{service.use_case.name}/predict"
    html = (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{name} predictor</title><style nonce={nonce}>{_STYLE}</style>"
        f"<h1>{name} predictor</h1><p>{escape(service.use_case.comment)}</p>{_state(service)}"
        f"<h2>Ask</h2>{_form(path, example)}"
        f"<p><a href=/openapi.json>API description (OpenAPI)</a> · <a href=/v1/{name}/model>model</a> · "
        f"<a href=/metrics>metrics</a> · <a href=/readyz>ready?</a></p>"
        f"<script nonce={nonce}>{_SCRIPT}</script></html>"
    )
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy


def _form(path: str, example: dict[str, object]) -> str:
    body = msgspec.json.format(msgspec.json.encode({"subjects": [example]}), indent=2).decode()
    return (
        f"<form id=ask data-path='{escape(path)}'><p><label>Token (<code>PREDICTOR_TOKEN</code>)<br>"
        f"<input name=token type=password autocomplete=off required></label></p>"
        f"<p><label>Subjects<br><textarea name=body spellcheck=false>{escape(body)}</textarea></label></p>"
        f"<p><button>Predict</button></p></form><pre id=answer aria-live=polite>The answer comes here.</pre>"
    )


def _state(service: Service) -> str:
    rows = "".join(f"<tr><th>{escape(name)}<td>{escape(value)}" for name, value in _facts(service))
    reasons = "".join(f"<p class=bad>Not ready: {escape(reason)}</p>" for reason in service.not_ready())
    return f"<table>{rows}</table>{reasons}"


def _facts(service: Service) -> Iterator[tuple[str, str]]:
    champion, history = service.champion, service.history
    yield "Champion", "none" if champion is None else f"{champion.model_id} (ledger line {champion.sequence})"
    yield "Published tiles", _published(service)
    for source, progress in sorted(history.progress.items()):
        yield f"Streamed {source}", f"to {minute_text(progress.border)}"
    if not history.progress:
        yield "Streamed", "nothing yet"
    yield "Latency", service.telemetry.latency_summary()


def _published(service: Service) -> str:
    history = service.history
    return "none" if history.end is None else f"{len(history.days)} days, to {rfc3339(history.end)}"
