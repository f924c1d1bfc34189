"""S3, Kafka and MySQL as a deployment's settings name them: reached, signed in to, used once in each way that counts.

What a check writes it removes: an object under ``doctor/`` in the lake, a table ``doctor_...``. It sends no message to
any topic, since nothing could take that back.
"""

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pymysql
from botocore.exceptions import BotoCoreError, ClientError
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

from include.doctor.finding import Finding, Trouble, reach, reach_url
from include.landing import s3_client
from include.locations import LAKE_BUCKET, LANDING_BUCKET, MODELS_BUCKET, Topics
from include.settings import KafkaSettings, MysqlSettings, S3Settings, require
from include.use_case import load_use_case
from include.use_cases import chosen_use_case

S3_SETTINGS = "S3_ENDPOINT, S3_ACCESS_KEY and S3_SECRET_KEY (in Airflow the connection lambda_dl_s3)"
KAFKA_SETTINGS = "KAFKA_BOOTSTRAP (in Airflow the connection lambda_dl_kafka)"
MYSQL_SETTINGS = "MYSQL_HOST, MYSQL_PORT, MYSQL_USER and MYSQL_PASSWORD (in Airflow the connection lambda_dl_mysql)"
METADATA_SECONDS = 10.0


def check_s3(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The store answers, the key may use the three buckets, and of two conditional puts one wins."""
    settings = S3Settings.from_environment(environment)
    reach_url(settings.endpoint, f"start the store, or correct {S3_SETTINGS}")
    client = s3_client(settings)
    for bucket in (LANDING_BUCKET, LAKE_BUCKET, MODELS_BUCKET):
        with _s3_faults(settings, f"list bucket {bucket}", bucket):
            client.list_objects_v2(Bucket=bucket, MaxKeys=1)
    yield Finding(f"{settings.endpoint}: buckets {LANDING_BUCKET}, {LAKE_BUCKET} and {MODELS_BUCKET} can be listed")
    for bucket in (LANDING_BUCKET, LAKE_BUCKET, MODELS_BUCKET):
        yield _written_once(client, settings, bucket)


def _written_once(client: Any, settings: S3Settings, bucket: str) -> Finding:
    key, content = f"doctor/{uuid.uuid4()}", b"doctor"
    with _s3_faults(settings, f"write to bucket {bucket}", bucket):
        client.put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
    try:
        with _s3_faults(settings, f"read from bucket {bucket}", bucket):
            read = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        twice = _second_put_passes(client, bucket, key)
    finally:
        with _s3_faults(settings, f"delete in bucket {bucket}", bucket):
            client.delete_object(Bucket=bucket, Key=key)
    if read != content:
        return Finding(f"bucket {bucket} gives back other bytes than were put", "look for a proxy that changes answers")
    if twice:
        return Finding(
            f"the store ignores If-None-Match in bucket {bucket}: two promotions at once would both win",
            "use a store with conditional puts (AWS S3, MinIO, Ceph, SeaweedFS from 4 on)",
        )
    return Finding(f"{bucket}: an object was put, read, refused a second time and deleted")


def _second_put_passes(client: Any, bucket: str, key: str) -> bool:
    try:
        client.put_object(Bucket=bucket, Key=key, Body=b"second", IfNoneMatch="*")
    except ClientError:
        return False
    return True


@contextlib.contextmanager
def _s3_faults(settings: S3Settings, action: str, bucket: str) -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise explain_s3(error, settings, action, bucket) from error


def explain_s3(error: ClientError | BotoCoreError, settings: S3Settings, action: str, bucket: str) -> Trouble:
    """What an S3 client's error means in words."""
    if not isinstance(error, ClientError):
        return Trouble(f"{settings.endpoint} does not answer as a store ({error})", f"correct {S3_SETTINGS}")
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code == "InvalidAccessKeyId":
        return Trouble(f"the store does not know the access key {settings.access_key}", f"correct {S3_SETTINGS}")
    if code == "SignatureDoesNotMatch":
        return Trouble(f"the secret key does not fit access key {settings.access_key}", "correct S3_SECRET_KEY")
    if code in ("NoSuchBucket", "404"):
        return Trouble(f"bucket {bucket} is missing", f"create bucket {bucket} in {settings.endpoint}")
    if code in ("AccessDenied", "403"):
        return Trouble(
            f"access key {settings.access_key} may not {action}",
            f"let the key list, read, write and delete in bucket {bucket}, or correct {S3_SETTINGS}",
        )
    return Trouble(f"the store refused to {action} ({code}: {error})", f"correct {S3_SETTINGS}")


def check_kafka(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Brokers answer where they say they are, every topic is there, and what must be compacted is."""
    settings = KafkaSettings.from_environment(environment)
    yield from _bootstrap_addresses(settings)
    admin = AdminClient({**settings.client(), "log_level": 0, "allow.auto.create.topics": False})
    try:
        cluster = admin.list_topics(timeout=METADATA_SECONDS)
    except KafkaException as error:
        raise Trouble(
            f"{settings.bootstrap} gives no metadata ({error.args[0].str()})",
            f"what listens there is no Kafka that takes {settings.protocol}: correct {KAFKA_SETTINGS}",
        ) from error
    for broker in cluster.brokers.values():
        do = f"correct advertised.listeners of broker {broker.id}: it sends clients there"
        reach(str(broker.host), broker.port, do)
    yield Finding(f"{len(cluster.brokers)} brokers answer where they say they are")
    use_case = chosen_use_case(environment)
    topics, compacted = wanted_topics(use_case)
    yield from judged_topics(use_case, topics, compacted, cluster.topics)
    yield from _compacted(admin, [name for name in compacted if name in cluster.topics])


def _bootstrap_addresses(settings: KafkaSettings) -> Iterator[Finding]:
    """One that is away is told; without any the check ends."""
    faults = []
    addresses = settings.bootstrap.split(",")
    for address in addresses:
        host, _, port = address.strip().rpartition(":")
        try:
            if not host or not port.isdigit():
                raise Trouble(f"{address!r} in KAFKA_BOOTSTRAP is no host:port", f"correct {KAFKA_SETTINGS}")
            reach(host, int(port), f"start that broker, or correct {KAFKA_SETTINGS}")
        except Trouble as trouble:
            faults.append(trouble)
    if len(faults) == len(addresses):
        raise faults[0]
    yield from (fault.finding for fault in faults)


def wanted_topics(use_case: str) -> tuple[list[str], list[str]]:
    """Every topic of a use case, and those of them that keep the newest value of each key."""
    topics = Topics(use_case)
    facts = [topics.facts(source.name) for source in load_use_case(use_case).sources]
    others = [topics.queries, topics.prepared_queries, topics.predictions, topics.rejected, topics.metrics]
    compacted = [topics.tiles, topics.models]
    return [*facts, *others, topics.batch_events, *compacted], compacted


def judged_topics(
    use_case: str, wanted: list[str], compacted: list[str], present: Mapping[str, Any]
) -> Iterator[Finding]:
    """Which topics are missing, lead by nobody, or short of copies."""
    missing = [name for name in wanted if name not in present]
    if missing:
        how = f" (with cleanup.policy=compact: {', '.join(n for n in compacted if n in missing)})" if compacted else ""
        yield Finding(f"topics are missing: {', '.join(missing)}", f"create them{how}")
    partitions = [(name, part) for name in wanted if name in present for part in present[name].partitions.values()]
    leaderless = sorted({name for name, part in partitions if part.leader < 0})
    if leaderless:
        yield Finding(f"topics without a leader: {', '.join(leaderless)}", "start the brokers that hold them")
    behind = sorted({name for name, part in partitions if len(part.isrs) < len(part.replicas)})
    if behind:
        yield Finding(f"topics with copies that are behind: {', '.join(behind)}", "start the broker that is away")
    if not missing and not leaderless and not behind:
        yield Finding(f"all {len(wanted)} topics of {use_case} are there, with every copy in step")


def _compacted(admin: AdminClient, names: list[str]) -> Iterator[Finding]:
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    for resource, future in (admin.describe_configs(resources) if resources else {}).items():
        policy = future.result(METADATA_SECONDS)["cleanup.policy"].value
        if "compact" not in policy:
            yield Finding(
                f"topic {resource.name} has cleanup.policy={policy}: what it said long ago is forgotten",
                f"set cleanup.policy=compact on {resource.name}",
            )


def check_mysql(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The batch layer's account may do what a refresh does; the analysts' may read and nothing else."""
    settings = MysqlSettings.from_environment(environment)
    reach(settings.host, settings.port, f"start MySQL, or correct {MYSQL_SETTINGS}")
    with _signed_in(settings) as batch:
        yield _refreshed(batch, settings)
    if environment.get("MYSQL_ANALYST_USER"):
        analyst = MysqlSettings(
            settings.host,
            settings.port,
            settings.database,
            environment["MYSQL_ANALYST_USER"],
            require(environment, "MYSQL_ANALYST_PASSWORD"),
        )
        with _signed_in(analyst) as reader:
            yield _only_reads(reader, analyst)


@contextlib.contextmanager
def _signed_in(settings: MysqlSettings) -> Iterator[Any]:
    try:
        connection = pymysql.connect(
            host=settings.host,
            port=settings.port,
            user=settings.user,
            password=settings.password,
            database=settings.database,
            connect_timeout=10,
            autocommit=True,
        )
    except pymysql.err.MySQLError as error:
        raise explain_mysql(error, settings, "sign in") from error
    with connection, connection.cursor() as cursor:
        yield cursor


def _refreshed(cursor: Any, settings: MysqlSettings) -> Finding:
    """What a refresh does, on a table of the doctor's own."""
    name = f"doctor_{uuid.uuid4().hex[:12]}"
    steps = {
        "CREATE": f"CREATE TABLE {name} (ds DATE, KEY (ds)) CHARACTER SET utf8mb4",
        "INSERT": f"INSERT INTO {name} VALUES ('2013-01-01')",
        "RENAME (ALTER, DROP, CREATE, INSERT)": f"RENAME TABLE {name} TO {name}_old",
        "CREATE VIEW": f"CREATE OR REPLACE SQL SECURITY INVOKER VIEW {name}_view AS SELECT * FROM {name}_old",
        "SELECT": f"SELECT ds FROM {name}_view",
    }
    try:
        for right, statement in steps.items():
            try:
                cursor.execute(statement)
            except pymysql.err.MySQLError as error:
                raise explain_mysql(error, settings, right) from error
    finally:
        with contextlib.suppress(pymysql.err.MySQLError):
            cursor.execute(f"DROP VIEW IF EXISTS {name}_view")
            cursor.execute(f"DROP TABLE IF EXISTS {name}, {name}_old")
    return Finding(f"{settings.user} made, filled, renamed and dropped a table in {settings.database}")


def _only_reads(cursor: Any, settings: MysqlSettings) -> Finding:
    name = f"doctor_{uuid.uuid4().hex[:12]}"
    try:
        cursor.execute(f"CREATE TABLE {name} (n INT)")
    except pymysql.err.OperationalError:
        return Finding(f"{settings.user} signs in, and may not write")
    cursor.execute(f"DROP TABLE {name}")
    return Finding(
        f"the analysts' account {settings.user} may change what everybody reads",
        f"REVOKE ALL ON `{settings.database}`.* FROM {settings.user}; GRANT SELECT ON `{settings.database}`.*",
    )


def explain_mysql(error: pymysql.err.MySQLError, settings: MysqlSettings, right: str) -> Trouble:
    """What a MySQL client's error means in words."""
    code = error.args[0] if error.args else 0
    if code == 1045:
        return Trouble(f"MySQL refuses user {settings.user} with this password", f"correct {MYSQL_SETTINGS}")
    if code in (1044, 1049):
        return Trouble(
            f"there is no database {settings.database} for {settings.user}",
            f"CREATE DATABASE `{settings.database}`; GRANT ALL ON `{settings.database}`.* TO {settings.user}",
        )
    if code in (1142, 1143, 1227, 1370):
        return Trouble(
            f"{settings.user} lacks the right to {right} in {settings.database}", f"GRANT it: {error.args[1]}"
        )
    return Trouble(
        f"MySQL at {settings.host}:{settings.port} refused to {right} ({error})", f"correct {MYSQL_SETTINGS}"
    )
