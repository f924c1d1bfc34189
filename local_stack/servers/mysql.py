"""MySQL: MariaDB with a database for the Hive metastore, one for each use case, which analysts read, and Superset's.

Four accounts beside root: the metastore's, the batch layer's (writes the use cases' databases), the analysts'
(reads them) and Superset's. Their passwords are set again on every start, so that the secrets file is always right.
"""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from local_stack import names
from local_stack.ports import LOOPBACK
from local_stack.process import run_step
from local_stack.secret_store import write_private
from local_stack.stack import Server, Stack

if TYPE_CHECKING:
    from pymysql.connections import Connection
    from pymysql.cursors import Cursor


def mysql(stack: Stack) -> Server:
    return Server(
        name="mysql",
        address=stack.ports.address("mysql"),
        port_names=("mysql",),
        command=_command(stack),
        prepare=lambda: _prepare(stack),
        probe=lambda: _probe(stack),
        stop_limit_s=60,
    )


def _command(stack: Stack) -> tuple[str, ...]:
    base = stack.layout.jars / "mariadb-dist"
    return (
        str(base / "bin" / "mariadbd"),
        "--no-defaults",
        f"--basedir={base}",
        f"--lc-messages-dir={base / 'share'}",
        f"--datadir={stack.layout.data / 'mysql'}",
        f"--port={stack.ports['mysql']}",
        f"--bind-address={LOOPBACK}",
        f"--socket={stack.short_state() / 'run' / 'mysql.sock'}",
        f"--pid-file={stack.layout.run / 'mysql.pid'}",
        "--skip-name-resolve",
        f"--init-file={stack.layout.conf / 'accounts.sql'}",
        "--local-infile=1",
        "--character-set-server=utf8mb4",
        "--innodb-buffer-pool-size=128M",
        "--max-connections=100",
        *_as_root(),
    )


def _as_root() -> tuple[str, ...]:
    """MariaDB refuses to run as root unless it is told to."""
    return ("--user=root",) if os.geteuid() == 0 else ()


def _prepare(stack: Stack) -> None:
    """Create the data folder in one step: what broke off half-way is thrown away."""
    write_private(stack.layout.conf / "accounts.sql", account_sql(stack.secrets, stack.use_cases))
    data = stack.layout.data / "mysql"
    if data.is_dir():
        return
    base = stack.layout.jars / "mariadb-dist"
    partial = data.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = (
        str(base / "scripts" / "mariadb-install-db"),
        "--no-defaults",
        f"--basedir={base}",
        f"--datadir={partial}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        f"--user={getpass.getuser()}",
    )
    run_step("creating the MySQL data folder", command, stack.layout.logs / "mysql-install.log")
    partial.rename(data)


def account_sql(secrets: Mapping[str, str], use_cases: Sequence[str]) -> str:
    """What the server runs before it takes its first connection: root's own account, then those of its users."""
    lines = [
        "DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host NOT IN ('localhost', '127.0.0.1'))",
        "FLUSH PRIVILEGES",
        *_account("root", "localhost", secrets["mysql_root_password"]),
        *_account("root", LOOPBACK, secrets["mysql_root_password"]),
        f"GRANT ALL ON *.* TO root@'{LOOPBACK}' WITH GRANT OPTION",
        *user_statements(secrets, LOOPBACK, use_cases),
    ]
    return "".join(f"{line};\n" for line in lines)


def user_statements(secrets: Mapping[str, str], host: str, use_cases: Sequence[str]) -> list[str]:
    """Databases, accounts that sign in from ``host``, their passwords and rights; MariaDB and MySQL read them alike."""
    grants = (
        (names.METASTORE_USER, "mysql_metastore_password", names.METASTORE_DATABASE, "ALL"),
        *((names.BATCH_USER, "mysql_batch_password", name, "ALL") for name in use_cases),
        *((names.ANALYST_USER, "mysql_analyst_password", name, "SELECT") for name in use_cases),
        (names.SUPERSET_DB_USER, "mysql_superset_password", names.SUPERSET_DATABASE, "ALL"),
    )
    lines = [
        f"CREATE DATABASE IF NOT EXISTS {names.METASTORE_DATABASE} CHARACTER SET latin1",
        # Quoted: a use case may be called by a word of SQL.
        *(f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4" for name in use_cases),
        f"CREATE DATABASE IF NOT EXISTS {names.SUPERSET_DATABASE} CHARACTER SET utf8mb4",
    ]
    for user, secret, database, rights in grants:
        lines += [*_account(user, host, secrets[secret]), f"GRANT {rights} ON `{database}`.* TO {user}@'{host}'"]
    return lines


def _account(user: str, host: str, password: str) -> tuple[str, str]:
    # The generated passwords are URL-safe, so nothing in them needs escaping.
    return f"CREATE USER IF NOT EXISTS {user}@'{host}'", f"ALTER USER {user}@'{host}' IDENTIFIED BY '{password}'"


def connect(stack: Stack, user: str = "root", secret: str = "mysql_root_password") -> Connection[Cursor]:
    """A connection to the server over TCP."""
    import pymysql

    return pymysql.connect(
        host=stack.ports.host("mysql"),
        port=stack.ports["mysql"],
        user=user,
        password=stack.secrets[secret],
        connect_timeout=3,
        autocommit=True,
    )


def _probe(stack: Stack) -> None:
    with connect(stack) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
