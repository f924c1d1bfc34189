"""Ray, the predictor and Airflow, asked over HTTP as their clients do, and whether their tokens are right.

Knows addresses and tokens by the settings that name them, and nothing of what the services compute.
"""

from collections.abc import Iterator, Mapping
from importlib.metadata import version

import httpx

from include.doctor.finding import Finding, Trouble, reach_url
from include.doctor.warehouse import judged_version
from include.settings import require
from include.use_cases import PREDICTOR_URL, chosen_use_case, read_use_cases

RAY_SETTINGS = "RAY_ADDRESS and RAY_AUTH_TOKEN (in Airflow the connection lambda_dl_ray)"
PREDICTOR_SETTINGS = "PREDICTOR_URL and PREDICTOR_TOKEN (in Airflow the connection lambda_dl_predictor)"
AIRFLOW_SETTINGS = "AIRFLOW_URL, AIRFLOW_USER and AIRFLOW_PASSWORD"
HTTP_SECONDS = 20.0
REFUSED = (401, 403)


def _ask(method: str, url: str, token: str, settings: str, **arguments: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return httpx.request(method, url, headers=headers, timeout=HTTP_SECONDS, **arguments)  # type: ignore[arg-type]
    except httpx.HTTPError as error:
        raise Trouble(f"{url} does not answer as HTTP ({error})", f"correct {settings}") from error


def _json(answer: httpx.Response, settings: str) -> Mapping[str, object]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if answer.is_error or not isinstance(found, dict):
        raise Trouble(f"{answer.url} answers {answer.status_code}: {answer.text[:100]!r}", f"correct {settings}")
    return found


def check_ray(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The job API answers, to this token alone, and Ray is of this project's version."""
    address, token = require(environment, "RAY_ADDRESS").rstrip("/"), require(environment, "RAY_AUTH_TOKEN")
    reach_url(address, f"start Ray, or correct {RAY_SETTINGS}")
    answer = _ask("GET", f"{address}/api/version", token, RAY_SETTINGS)
    if answer.status_code in REFUSED:
        raise Trouble("Ray refuses this token", f"correct {RAY_SETTINGS}: the head's RAY_AUTH_TOKEN is another")
    yield judged_version("Ray", str(_json(answer, RAY_SETTINGS).get("ray_version", "unknown")), version("ray"))
    if _ask("GET", f"{address}/api/jobs/", "", RAY_SETTINGS).status_code in REFUSED:
        yield Finding(f"{address} takes jobs from those who have the token")
    else:
        yield Finding(f"{address} takes jobs from everybody", "start Ray with RAY_AUTH_MODE=token")


def check_predictor(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The service answers, takes this token, and has a model."""
    use_case = chosen_use_case(environment)
    if use_case in read_use_cases(environment)[1:] and not environment.get(PREDICTOR_URL):
        yield Finding(f"the predictor of {use_case} is not asked: {PREDICTOR_URL}_{use_case.upper()} is not set")
        return
    url, token = require(environment, "PREDICTOR_URL").rstrip("/"), require(environment, "PREDICTOR_TOKEN")
    reach_url(url, f"start the predictor, or correct {PREDICTOR_SETTINGS}")
    _json(_ask("GET", f"{url}/healthz", "", PREDICTOR_SETTINGS), PREDICTOR_SETTINGS)
    path = f"{url}/v1/{use_case}/predict"
    answer = _ask("POST", path, token, PREDICTOR_SETTINGS, json={"subjects": []})
    if answer.status_code in REFUSED:
        raise Trouble("the predictor refuses this token", "correct PREDICTOR_TOKEN: it was started with another")
    if answer.status_code == 404:
        raise Trouble(f"the predictor does not serve use case {use_case}", "start it with LAMBDA_DL_USE_CASE set to it")
    yield Finding(f"{url} answers and takes the token")
    ready = _ask("GET", f"{url}/readyz", "", PREDICTOR_SETTINGS)
    waits = "has a model and tiles" if ready.is_success else f"waits: {ready.text[:200]}"
    yield Finding(f"it {waits}")


def check_airflow(environment: Mapping[str, str]) -> Iterator[Finding]:
    """All components beat, the account signs in, and every DAG can be imported."""
    url = require(environment, "AIRFLOW_URL").rstrip("/")
    reach_url(url, f"start Airflow, or correct {AIRFLOW_SETTINGS}")
    health = _json(_ask("GET", f"{url}/api/v2/monitor/health", "", AIRFLOW_SETTINGS), AIRFLOW_SETTINGS)
    yield from judged_health(health)
    sign_in = {"username": require(environment, "AIRFLOW_USER"), "password": require(environment, "AIRFLOW_PASSWORD")}
    signed_in = _ask("POST", f"{url}/auth/token", "", AIRFLOW_SETTINGS, json=sign_in)
    if signed_in.status_code in REFUSED:
        raise Trouble(f"Airflow refuses user {sign_in['username']} with this password", f"correct {AIRFLOW_SETTINGS}")
    token = str(_json(signed_in, AIRFLOW_SETTINGS).get("access_token", ""))
    errors = _json(_ask("GET", f"{url}/api/v2/importErrors", token, AIRFLOW_SETTINGS), AIRFLOW_SETTINGS)
    found = errors.get("import_errors")
    files = sorted(str(error["filename"]) for error in found) if isinstance(found, list) else []
    if files:
        yield Finding(f"Airflow cannot import {', '.join(files)}", "read the error on its page of DAGs")
    else:
        yield Finding(f"{url}: {sign_in['username']} signs in, every DAG is imported")


def judged_health(health: Mapping[str, object]) -> Iterator[Finding]:
    """Components that do not beat."""
    states = {
        name: str(part.get("status")) for name, part in health.items() if isinstance(part, dict) and part.get("status")
    }
    sick = sorted(name for name, state in states.items() if state != "healthy")
    for name in sick:
        yield Finding(f"Airflow's {name} is {states[name]}", f"start airflow {name.replace('_', '-')}")
    if not sick:
        yield Finding(f"Airflow's {', '.join(sorted(states))} are healthy")
