"""What a container of the project's own image does: one server, prepared by the embedded stack's definitions."""

from pathlib import Path

import pytest

from local_stack import container
from local_stack.container import WITHHELD, container_stack, prepare, servers_of
from local_stack.jars import read_lock
from local_stack.layout import REPO_ROOT, Layout
from local_stack.stack import Stack


def prepared(folder: Path, environment: dict[str, str], name: str) -> Stack:
    """The stack of a container, after one of its servers was prepared."""
    stack = container_stack(Layout(REPO_ROOT, folder / name), environment)
    prepare(stack, servers_of(stack)[name])
    return stack


def test_only_spark_s_cluster_and_its_drivers_know_its_secret(tmp_path: Path) -> None:
    given = prepared(tmp_path, {"SPARK_SECRET": "known"}, "airflow-scheduler").layout.conf / "spark"
    assert "spark.authenticate.secret known\n" in (given / "spark-defaults.conf").read_text()
    other = prepared(tmp_path, {}, "hiveserver2").layout.conf
    assert "authenticate" not in (other / "spark" / "spark-defaults.conf").read_text()


def test_what_a_container_was_not_given_is_in_none_of_its_files(tmp_path: Path) -> None:
    stack = prepared(tmp_path, {"HIVE_S3_ACCESS_KEY": "AK", "HIVE_S3_SECRET_KEY": "SK"}, "hiveserver2")
    defaults = (stack.layout.conf / "hiveserver2" / "spark-defaults.conf").read_text()
    assert "spark.hadoop.fs.s3a.secret.key SK\n" in defaults
    assert WITHHELD not in defaults
    assert "spark.hadoop.fs.s3a.endpoint http://s3:8333\n" in defaults
    assert "spark.hadoop.fs.s3a.endpoint.region us-east-1\n" in defaults
    assert "spark.hadoop.hive.server2.thrift.bind.host 0.0.0.0\n" in defaults


def test_the_launcher_is_private_and_becomes_the_server(tmp_path: Path) -> None:
    stack = prepared(tmp_path, {"SPARK_SECRET": "known"}, "spark-master")
    script = stack.layout.run / "spark-master.sh"
    assert script.stat().st_mode & 0o777 == 0o700
    assert "exec " in script.read_text() and "--host spark-master --port 7077" in script.read_text()
    assert "known" not in script.read_text()  # Spark reads it from a file: arguments are seen by everybody
    assert (stack.layout.conf / "spark-cluster.conf").stat().st_mode & 0o777 == 0o600


def test_mysql_s_accounts_sign_in_from_the_network(stack: Stack) -> None:
    from local_stack.servers.mysql import user_statements

    statements = user_statements(stack.secrets, "%", stack.use_cases)
    assert "GRANT SELECT ON `flight_delay`.* TO analyst@'%'" in statements
    assert not [line for line in statements if "127.0.0.1" in line or "global_priv" in line]


def test_an_unknown_name_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMBDA_DL_STATE", str(tmp_path))
    assert container.main(["probe", "nothing"]) == 1
    assert capsys.readouterr().err.startswith("lambda-dl: no server is called nothing: choose from s3, kafka,")


def test_the_image_has_the_jars_of_what_it_runs() -> None:
    from local_stack.bootstrap import IMAGE_SETS

    assert set(IMAGE_SETS) < {jar.jar_set for jar in read_lock()}
    assert {"metastore", "spark"} == set(IMAGE_SETS)


def test_a_deployment_may_have_several_use_cases(tmp_path: Path) -> None:
    stack = container_stack(Layout(REPO_ROOT, tmp_path), {"LAMBDA_DL_USE_CASES": "flight_delay,template"})
    assert stack.use_cases == ("flight_delay", "template")
    assert (stack.ports.host("predictor-template"), stack.ports["predictor-template"]) == ("predictor-template", 8000)
