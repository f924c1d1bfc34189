"""The API's description is true: schemathesis makes requests of it, good and bad, and judges every answer by it.

One rule cannot be said in JSON Schema: the prediction time must lie a while before the subject's time. So that a
schema-valid request is accepted is not asked here; test_routes asks it of requests that keep the rule.
"""

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi import checks

from speed_service.app import create_app
from tests.speed_service.conftest import TOKEN, World, make_config

load_all_checks()
#: The description of an app as such; the requests go to the app of each test.
SCHEMA = schemathesis.openapi.from_wsgi("/openapi.json", create_app(make_config()))


@SCHEMA.parametrize()
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_described(case: schemathesis.Case, world: World) -> None:
    response = case.call(app=world.app, headers={"Authorization": f"Bearer {TOKEN}"})
    case.validate_response(
        response,
        headers={"Authorization": f"Bearer {TOKEN}"},
        excluded_checks=[checks.positive_data_acceptance],
        transport_kwargs={"app": world.app},
    )
