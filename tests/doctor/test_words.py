"""What the doctor says: which error of which client means what, and that no secret is in it."""

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pymysql
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from include.doctor import __main__ as doctor
from include.doctor.finding import Finding, Trouble, examined, host_and_port, of_each_use_case, reach, rendered
from include.doctor.services import check_predictor, judged_health
from include.doctor.stores import explain_mysql, explain_s3, judged_topics, wanted_topics
from include.doctor.warehouse import explain_metastore, explain_spark, judged_version
from include.settings import MysqlSettings, S3Settings

SECRET = "the-secret"
S3 = S3Settings("http://s3:1", "KEY", SECRET, "us-east-1")
MYSQL = MysqlSettings("mysql", 3306, "flight_delay", "batch", SECRET)


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "said"}}, "PutObject")


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("InvalidAccessKeyId", "does not know the access key KEY"),
        ("SignatureDoesNotMatch", "secret key does not fit access key KEY"),
        ("NoSuchBucket", "bucket lake is missing"),
        ("AccessDenied", "KEY may not write to bucket lake"),
        ("SlowDown", "refused to write to bucket lake (SlowDown"),
    ],
)
def test_s3(code: str, what: str) -> None:
    found = explain_s3(client_error(code), S3, "write to bucket lake", "lake").finding
    assert what in found.what
    assert found.do
    assert SECRET not in found.what + found.do


def test_what_is_no_store() -> None:
    found = explain_s3(ReadTimeoutError(endpoint_url="http://s3:1"), S3, "list", "lake").finding
    assert "http://s3:1 does not answer as a store" in found.what


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (1045, "refuses user batch with this password"),
        (1044, "no database flight_delay for batch"),
        (1049, "no database flight_delay for batch"),
        (1142, "batch lacks the right to CREATE in flight_delay"),
        (2013, "MySQL at mysql:3306 refused to CREATE"),
    ],
)
def test_mysql(code: int, what: str) -> None:
    found = explain_mysql(pymysql.err.OperationalError(code, "said"), MYSQL, "CREATE").finding
    assert what in found.what
    assert SECRET not in found.what + found.do


def test_a_metastore_of_another_version_is_told_from_what_is_none() -> None:
    newer = explain_metastore("Invalid method name: 'get_table'", "thrift://m:1").finding
    assert "newer protocol" in newer.what
    assert "3.1" in newer.do
    assert "does not answer as a metastore" in explain_metastore("TSocket read 0 bytes", "thrift://m:1").finding.what


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("ClassNotFoundException: Class org.apache.hadoop.fs.s3a.S3AFileSystem not found", "lacks the jars"),
        ("java.io.InvalidClassException: org.apache.spark.x; local class incompatible", "different versions of Spark"),
        ("[PYTHON_VERSION_MISMATCH] ...", "different versions of Python"),
        ("ModuleNotFoundError: No module named 'pyarrow'", "lacks a package"),
        ('java.io.IOException: Cannot run program "/venv/bin/python"', "cannot start Python"),
        ("javax.security.sasl.SaslException: DIGEST-MD5: digest response format violation.", "this program's secret"),
        ("Reason: All masters are unresponsive! Giving up.", "does not answer as one"),
        ("something\nlast words\n", "ended with 1: last words"),
        ("", "ended with 1: it said nothing"),
    ],
)
def test_spark(said: str, what: str) -> None:
    assert what in explain_spark(1, said, "spark://m:7077").finding.what


def test_a_job_that_nobody_takes() -> None:
    found = explain_spark(None, "WARN Initial job has not accepted any resources", "spark://m:7077").finding
    assert "no executor took the job" in found.what
    assert "free cores" in found.do


def test_versions() -> None:
    assert judged_version("Ray", "2.60.1", "2.60.0").is_well
    assert judged_version("HiveServer2's Spark", "4.2.0 abcdef", "4.2.0").what == "HiveServer2's Spark is 4.2.0"
    other = judged_version("Ray", "2.9.0", "2.60.0")
    assert other == Finding("Ray is 2.9.0, and this project runs 2.60.0", "install version 2.60.0 there")


def partition(leader: int = 1, isrs: int = 3) -> Any:
    return SimpleNamespace(leader=leader, replicas=[1, 2, 3], isrs=[1, 2, 3][:isrs])


def topic(*partitions: Any) -> Any:
    return SimpleNamespace(partitions=dict(enumerate(partitions)))


def test_topics() -> None:
    present = {"a": topic(partition()), "b": topic(partition(), partition(leader=-1)), "c": topic(partition(isrs=2))}
    found = list(judged_topics("parcels", ["a", "b", "c", "d"], ["d"], present))
    assert [finding.what for finding in found] == [
        "topics are missing: d",
        "topics without a leader: b",
        "topics with copies that are behind: c",
    ]
    assert "compact: d" in found[0].do
    assert [finding.is_well for finding in judged_topics("parcels", ["a"], [], present)] == [True]


def test_every_topic_of_the_data_flow_is_asked_for() -> None:
    from include.use_case import load_use_case
    from local_stack.names import topics_of

    topics = topics_of("flight_delay", [source.name for source in load_use_case("flight_delay").sources])
    wanted, compacted = wanted_topics("flight_delay")
    assert set(wanted) == {topic.name for topic in topics}
    assert set(compacted) == {topic.name for topic in topics if topic.compacted}


def test_components_that_do_not_beat() -> None:
    health = {
        "metadatabase": {"status": "healthy"},
        "dag_processor": {"status": "unhealthy"},
        "other": {"status": None},
    }
    (found,) = judged_health(health)
    assert found == Finding("Airflow's dag_processor is unhealthy", "start airflow dag-processor")


@pytest.mark.parametrize("url", ["", "thrift://", "s3:1", "http://host:port", "thrift://host"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(Trouble, match="is no address with scheme, host and port: correct X"):
        host_and_port(url, "correct X")


def test_an_unknown_machine() -> None:
    with pytest.raises(Trouble, match="no machine is called nowhere.invalid"):
        reach("nowhere.invalid", 1, "correct X")


def stumbles(environment: Mapping[str, str]) -> Iterator[Finding]:
    yield Finding("first")
    S3Settings.from_environment(environment)


def breaks(_: Mapping[str, str]) -> Iterator[Finding]:
    yield Finding("first")
    raise RuntimeError("nobody\nexpected it")


def test_a_missing_setting_and_an_unknown_error_are_findings_too() -> None:
    first, missing = examined(stumbles, {})
    assert first.is_well
    assert missing == Finding("setting S3_ENDPOINT is missing", "source .local/stack.env or set it in the environment")
    assert "broke off with RuntimeError: nobody expected it" in list(examined(breaks, {}))[1].what


def test_every_use_case_is_asked_with_its_own_settings_and_nothing_is_told_twice() -> None:
    def check(environment: Mapping[str, str]) -> Iterator[Finding]:
        yield Finding("brokers answer")
        if environment["MYSQL_DATABASE"] == "a":
            raise Trouble("no database a", "create it")
        yield Finding(
            f"{environment['LAMBDA_DL_USE_CASE']}: {environment['MYSQL_DATABASE']} at {environment['PREDICTOR_URL']}"
        )

    both = {"LAMBDA_DL_USE_CASES": "a,b", "MYSQL_DATABASE": "a", "PREDICTOR_URL": "at-a", "PREDICTOR_URL_B": "at-b"}
    told = [finding.what for finding in of_each_use_case(check)(both)]
    assert told == ["brokers answer", "no database a", "b: b at at-b"]
    one = [finding.what for finding in of_each_use_case(check)({**both, "LAMBDA_DL_USE_CASE": "b"})]
    assert one == ["brokers answer", "b: b at at-b"]
    alone = {"LAMBDA_DL_USE_CASE": "mine", "MYSQL_DATABASE": "its own", "PREDICTOR_URL": "at-mine"}
    assert [f.what for f in of_each_use_case(check)(alone)][1] == "mine: its own at at-mine"
    (unasked,) = check_predictor({**both, "LAMBDA_DL_USE_CASE": "b", "PREDICTOR_URL": ""})
    assert unasked.is_well and "PREDICTOR_URL_B is not set" in unasked.what


def test_a_fault_is_shown_with_what_to_do() -> None:
    assert list(rendered("s3", [Finding("fine"), Finding("wrong key", "correct it")])) == [
        "s3           ok     fine",
        "             WRONG  wrong key",
        "                    -> correct it",
    ]


def test_the_end_says_whether_something_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {"well": lambda _: iter([Finding("fine")]), "sick": breaks})
    assert doctor.main(["well"]) == 0
    assert capsys.readouterr().out.endswith("nothing is wrong\n")
    assert doctor.main([]) == 1
    assert capsys.readouterr().out.endswith("1 things are wrong\n")
    with pytest.raises(SystemExit):
        doctor.main(["mongo"])
