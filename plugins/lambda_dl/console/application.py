"""The pages: what was decided and what needs somebody (``include.overview``), and the lineage of one prediction.

Whoever may read DAGs in Airflow may read them; they change nothing: a decision is made by a DAG's form, to which the
buttons lead. It knows Airflow's sign-in and connections, not how the figures are computed.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from airflow.api_fastapi.core_api.security import requires_access_dag
from botocore.exceptions import BotoCoreError, ClientError
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

from include.bundle.store import S3Store
from include.lineage import Untraceable, trace
from include.locations import MODELS_BUCKET
from include.overview import gather
from include.settings import S3Settings
from include.training.dataset import Tables
from include.use_case import UseCase, load_use_case
from lambda_dl.connections import S3, read_environment
from lambda_dl.deployment import USE_CASE

HERE = Path(__file__).parent
LONGEST_ID = 200
#: DAGs whose form undoes or decides something, with what a person comes for.
FORMS = {
    "promote_model": "Promote a candidate",
    "rollback_model": "Roll back",
    "retract_day": "Retract or restore a day",
    "release_quarantine": "Release quarantined rows",
    "train_model": "Train",
}
#: Nothing is loaded from elsewhere, and no other site shows these pages in a frame.
POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; frame-ancestors 'self'"


def make_application() -> FastAPI:
    """The application, for the API server to mount."""
    application = FastAPI(title="lambda-dl", docs_url=None, redoc_url=None, openapi_url=None)
    application.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    application.middleware("http")(guard)
    pages = Jinja2Templates(directory=HERE / "templates")
    allowed = [Depends(requires_access_dag(method="GET"))]

    @application.get("/", response_class=HTMLResponse, dependencies=allowed)
    def overview(request: Request) -> Response:
        """Champions, refusals, books, quarantine and withdrawn days."""
        return _shown(pages, request, "overview.html", lambda *systems: {"seen": gather(*systems), "forms": FORMS})

    @application.get("/lineage", response_class=HTMLResponse, dependencies=allowed)
    def lineage(request: Request, prediction: str = "") -> Response:
        """One prediction, back to the landing files of its model."""
        asked = prediction.strip()[:LONGEST_ID]
        return _shown(pages, request, "lineage.html", lambda *systems: _traced(asked, *systems))

    return application


async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    """Add the headers that keep a page from loading, or being shown in, anything foreign."""
    response = await answer(request)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response


def _traced(prediction: str, tables: Tables, models: S3Store, use_case: UseCase) -> dict[str, Any]:
    try:
        found = trace(tables, models, use_case, prediction) if prediction else []
    except Untraceable as error:
        return {"prediction": prediction, "problem": str(error), "traces": []}
    return {"prediction": prediction, "problem": "", "traces": found}


def _shown(pages: Jinja2Templates, request: Request, page: str, read: Callable[..., dict[str, Any]]) -> Response:
    """A page from what ``read`` finds; if the store does not answer, a page that says so, with status 503."""
    s3 = S3Settings.from_environment(read_environment(S3))
    try:
        use_case = load_use_case(USE_CASE)
        found = read(Tables.on_s3(USE_CASE, s3), S3Store(s3, MODELS_BUCKET), use_case)
    except (BotoCoreError, ClientError, OSError) as error:
        about = {"use_case": USE_CASE, "problem": f"{s3.endpoint} does not answer: {type(error).__name__}"}
        return pages.TemplateResponse(request, "unavailable.html", about, status_code=503)
    return pages.TemplateResponse(request, page, {"use_case": USE_CASE, **found})
