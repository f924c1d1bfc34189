"""stack.env: the names that clients rely on, private, and read alike by a shell and by a simple parser."""

import json
import shlex
import stat
import subprocess
from dataclasses import replace

import pytest
from sqlalchemy.engine import make_url

from include.use_cases import chosen_use_case
from local_stack.airflow_api import AirflowApi
from local_stack.environment import environment_of, process_env, render_env, render_exports, stack_env
from local_stack.faults import StackError
from local_stack.ports import Ports
from local_stack.servers.airflow import WAIT_FOR_LOCK_S, airflow_env, connections, pools
from local_stack.servers.hiveserver2 import hiveserver2
from local_stack.servers.predictor import predictors
from local_stack.stack import Stack

DESIGN = """AIRFLOW_URL AIRFLOW_USER AIRFLOW_PASSWORD PREDICTOR_URL PREDICTOR_TOKEN S3_ENDPOINT S3_ACCESS_KEY
S3_SECRET_KEY KAFKA_BOOTSTRAP MYSQL_HOST MYSQL_PORT MYSQL_DATABASE MYSQL_ANALYST_USER MYSQL_ANALYST_PASSWORD HIVE_HOST
HIVE_PORT HIVE_USER HIVE_DATABASE METASTORE_URI RAY_ADDRESS RAY_AUTH_TOKEN SUPERSET_URL SUPERSET_USER
SUPERSET_PASSWORD""".split()


def test_every_name_of_the_architecture_page_is_there(stack: Stack) -> None:
    values = stack_env(stack)
    assert set(DESIGN) <= set(values)
    assert all(values.values())


def test_a_shell_reads_what_was_written(stack: Stack) -> None:
    values = {**stack_env(stack), "BLANK": "a b", "QUOTE": "it's $HOME"}
    script = f"set -a\n{render_env(values)}\npython3 -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    read = json.loads(subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout)
    assert {name: read[name] for name in values} == values


def test_exports_quote_json(stack: Stack) -> None:
    lines = render_exports(connections(stack)).splitlines()
    for line in lines:
        assert json.loads(shlex.split(line)[1].split("=", 1)[1])["conn_type"]


def test_secrets_are_private_random_and_kept(stack: Stack) -> None:
    path = stack.layout.secrets_file
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(set(stack.secrets.values())) == len(stack.secrets)
    assert min(map(len, stack.secrets.values())) >= 20


def test_the_predictor_gets_its_own_key_and_no_batch_secret(stack: Stack) -> None:
    env = predictors(stack)[0].env
    assert env["S3_ACCESS_KEY"] == stack.secrets["predictor_s3_access_key"]
    own = {"predictor_token", "predictor_s3_access_key", "predictor_s3_secret_key"}
    assert {name for name, secret in stack.secrets.items() if secret in env.values()} == own


def test_hiveserver2_gets_no_secret(stack: Stack) -> None:
    env = hiveserver2(stack).env
    assert not set(stack.secrets.values()) & set(env.values())


def test_airflow_has_every_connection_and_its_secrets_from_the_environment(stack: Stack) -> None:
    env = airflow_env(stack)
    wanted = ("S3", "KAFKA", "MYSQL", "HIVE", "METASTORE", "SPARK", "RAY", "PREDICTOR")
    assert {f"AIRFLOW_CONN_LAMBDA_DL_{name}" for name in wanted} <= set(env)
    assert env["AIRFLOW__CORE__FERNET_KEY"] == stack.secrets["airflow_fernet_key"]
    assert set(process_env(stack)) <= set(env)


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+aiosqlite"])
def test_airflow_waits_for_its_database_s_lock(stack: Stack, scheme: str) -> None:
    """Airflow makes its asynchronous engine from the same address, by another scheme."""
    address = airflow_env(stack)["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("sqlite:", f"{scheme}:")
    url = make_url(address)
    positional, named = url.get_dialect()().create_connect_args(url)
    assert named["timeout"] == WAIT_FOR_LOCK_S
    assert positional[0].endswith("/airflow.db")


def test_every_pool_has_one_slot() -> None:
    assert {pool["slots"] for pool in pools().values()} == {1}


def test_a_program_for_a_use_case_beside_the_first_has_its_databases_predictor_and_dags(stack: Stack) -> None:
    both = stack_env(replace(stack, ports=Ports(21000, ("predictor-b",)), use_cases=("a", "b")))
    assert environment_of(both, "a") == both
    own = environment_of(both, "b")
    assert (own["MYSQL_DATABASE"], own["HIVE_DATABASE"]) == ("b", "b")
    assert own["PREDICTOR_URL"] == own["PREDICTOR_URLS"] == both["PREDICTOR_URL_B"] != both["PREDICTOR_URL"]
    assert chosen_use_case(own) == "b"
    assert AirflowApi.from_environment(own).dag_suffix == "__b"
    assert AirflowApi.from_environment(both).dag_suffix == ""


def test_a_use_case_that_the_stack_does_not_have_is_refused_with_what_to_do(stack: Stack) -> None:
    with pytest.raises(StackError, match="no use case 'c'") as refused:
        environment_of(stack_env(replace(stack, use_cases=("a",))), "c")
    assert "LAMBDA_DL_USE_CASES=a,c make up" in str(refused.value)
