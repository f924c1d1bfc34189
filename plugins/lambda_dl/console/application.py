"""The pages: what was decided and what needs somebody (``include.overview``), and the lineage of one prediction.

Whoever may read DAGs in Airflow may read them; they change nothing: a decision is made by a DAG's form, to which the
buttons lead. It knows Airflow's sign-in and connections, not how the figures are computed.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from airflow.api_fastapi.core_api.security import requires_access_dag
from botocore.exceptions import BotoCoreError, ClientError
from fastapi import Depends, FastAPI, HTTPException, Request, Response
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
from lambda_dl.cases import CASES, FIRST, Case
from lambda_dl.connections import S3, read_environment

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
    def overview(request: Request, use_case: str = FIRST.name) -> Response:
        """Champions, refusals, books, quarantine and withdrawn days of a use case."""
        case = chosen(use_case)
        forms = {case.dag_id(stem): words for stem, words in FORMS.items()}

        def read(*systems: Any) -> dict[str, Any]:
            return {"seen": gather(*systems), "forms": forms}

        return _shown(pages, request, case, "overview.html", read)

    @application.get("/lineage", response_class=HTMLResponse, dependencies=allowed)
    def lineage(request: Request, prediction: str = "", use_case: str = FIRST.name) -> Response:
        """One prediction, back to the landing files of its model."""
        asked = prediction.strip()[:LONGEST_ID]
        return _shown(pages, request, chosen(use_case), "lineage.html", lambda *systems: _traced(asked, *systems))

    return application


def chosen(use_case: str) -> Case:
    """The use case that a page is asked for; 404 if the deployment has none of that name."""
    for case in CASES:
        if case.name == use_case:
            return case
    raise HTTPException(404, "this deployment has no such use case")


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


def _shown(
    pages: Jinja2Templates, request: Request, case: Case, page: str, read: Callable[..., dict[str, Any]]
) -> Response:
    """A page from what ``read`` finds; if the store does not answer, a page that says so, with status 503."""
    s3 = S3Settings.from_environment(read_environment(S3))
    common = {"use_case": case.name, "use_cases": [case.name for case in CASES]}
    try:
        use_case = load_use_case(case.name)
        found = read(Tables.on_s3(case.name, s3), S3Store(s3, MODELS_BUCKET), use_case)
    except (BotoCoreError, ClientError, OSError) as error:
        about = {**common, "problem": f"{s3.endpoint} does not answer: {type(error).__name__}"}
        return pages.TemplateResponse(request, "unavailable.html", about, status_code=503)
    return pages.TemplateResponse(request, page, {**common, **found})
