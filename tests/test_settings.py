"""Settings: how clients of S3 and Kafka sign in, from the environment; what is wrong is named, no secret is shown."""

import pytest

from include.settings import KafkaSettings, S3Settings, SettingError
from include.spark_jobs.session import BY_KEYS, BY_ROLE, s3_provider, spark_conf

S3 = {"S3_ENDPOINT": "https://s3.eu-central-1.amazonaws.com", "S3_REGION": "eu-central-1"}
KEYS = {"S3_ACCESS_KEY": "AK", "S3_SECRET_KEY": "SK"}
SASL = {
    "KAFKA_BOOTSTRAP": "b1:9096,b2:9096",
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "lambda",
    "KAFKA_SASL_PASSWORD": 'a"b\\c',
}


def test_keys_sign_in_where_there_are_keys() -> None:
    settings = S3Settings.from_environment({**S3, **KEYS})
    assert settings.keys == ("AK", "SK")
    assert settings.delta_options()["AWS_ACCESS_KEY_ID"] == "AK"
    assert s3_provider(settings) == BY_KEYS
    with pytest.raises(SettingError, match="S3_SECRET_KEY"):
        S3Settings.from_environment({**S3, "S3_ACCESS_KEY": "AK"})


def test_a_role_signs_in_without_keys() -> None:
    # Keys that are in the environment all the same belong to something else.
    settings = S3Settings.from_environment({**S3, **KEYS, "S3_CREDENTIALS": "role"})
    assert settings.keys is None
    options = settings.delta_options()
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} & set(options)
    assert options["conditional_put"] == "etag" and options["AWS_REGION"] == "eu-central-1"
    conf = spark_conf(
        settings.endpoint, "thrift://m:9083", s3_provider=s3_provider(settings), s3_region=settings.region
    )
    assert conf["spark.hadoop.fs.s3a.aws.credentials.provider"] == BY_ROLE
    assert conf["spark.hadoop.fs.s3a.endpoint.region"] == "eu-central-1"


def test_another_kind_of_credentials_is_refused() -> None:
    with pytest.raises(SettingError, match=r"S3_CREDENTIALS is 'roles', not one of keys, role"):
        S3Settings.from_environment({**S3, "S3_CREDENTIALS": "roles"})


def test_a_plain_cluster_needs_its_address_alone() -> None:
    settings = KafkaSettings.from_environment({"KAFKA_BOOTSTRAP": "b:9092", "KAFKA_SASL_PASSWORD": "unused"})
    assert settings.client() == {"bootstrap.servers": "b:9092"}
    assert settings.spark_options() == {"kafka.bootstrap.servers": "b:9092"}


def test_both_kinds_of_client_sign_in() -> None:
    settings = KafkaSettings.from_environment({**SASL, "KAFKA_SSL_CA": "/etc/ca.pem"})
    assert settings.client() == {
        "bootstrap.servers": "b1:9096,b2:9096",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "lambda",
        "sasl.password": 'a"b\\c',
        "ssl.ca.location": "/etc/ca.pem",
    }
    assert settings.spark_options() == {
        "kafka.bootstrap.servers": "b1:9096,b2:9096",
        "kafka.security.protocol": "SASL_SSL",
        "kafka.sasl.mechanism": "SCRAM-SHA-512",
        "kafka.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required "
        'username="lambda" password="a\\"b\\\\c";',
        "kafka.ssl.truststore.type": "PEM",
        "kafka.ssl.truststore.location": "/etc/ca.pem",
    }


def test_plain_passwords_and_tls_alone() -> None:
    plain = KafkaSettings.from_environment({**SASL, "KAFKA_SASL_MECHANISM": "PLAIN"})
    assert "plain.PlainLoginModule required" in plain.spark_options()["kafka.sasl.jaas.config"]
    tls = KafkaSettings.from_environment({"KAFKA_BOOTSTRAP": "b:9094", "KAFKA_SECURITY_PROTOCOL": "SSL"})
    assert tls.client() == {"bootstrap.servers": "b:9094", "security.protocol": "SSL"}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"KAFKA_SASL_PASSWORD": ""}, "KAFKA_SASL_PASSWORD is missing"),
        ({"KAFKA_SASL_MECHANISM": "GSSAPI"}, "KAFKA_SASL_MECHANISM is 'GSSAPI'"),
        ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, "KAFKA_SECURITY_PROTOCOL is 'TLS'"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, str], named: str) -> None:
    with pytest.raises(SettingError, match=named):
        KafkaSettings.from_environment({**SASL, **changed})


def test_no_secret_is_shown() -> None:
    assert "b\\c" not in repr(KafkaSettings.from_environment(SASL))
    assert "SK" not in repr(S3Settings.from_environment({**S3, **KEYS}))


def test_librdkafka_takes_the_settings() -> None:
    """A client checks its configuration when it is made; it connects later."""
    from confluent_kafka import Consumer

    settings = {**KafkaSettings.from_environment(SASL).client(), "group.id": "none", "log_level": 0}
    Consumer(settings).close()
    with pytest.raises(Exception, match="Unsupported SASL mechanism"):
        Consumer({**settings, "sasl.mechanism": "NONSENSE"})
