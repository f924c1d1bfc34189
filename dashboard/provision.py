"""Make Superset's database what it has to be: its tables, two accounts, the analysts' role, the dashboards.

    python -m dashboard.provision     # in Superset's own environment

Can be run again at any time: it upgrades, sets and replaces, adds nothing twice and removes charts that the definitions
had before. What was made by hand in Superset under other names stays. Reads addresses and secrets from the environment;
knows nothing about how servers start.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dashboard.bundle import file_name, files, id_of
from dashboard.pages import deployed_pages
from dashboard.specs import Pages, Store, datasets_of

log = logging.getLogger("dashboard.provision")

ANALYST_ROLE = "Analyst"
#: What an analyst may do, by Superset's views: look at dashboards and charts, query, keep own queries. Nothing that
#: changes what others see. Access to the two stores is added by name.
ANALYST_RIGHTS: Mapping[str, tuple[str, ...]] = {
    "Dashboard": ("can_read", "can_drill", "can_view_chart_as_table", "can_view_query"),
    "Chart": ("can_read",),
    "Dataset": ("can_read", "can_get_drill_info"),
    "Datasource": ("can_get", "can_external_metadata", "can_get_column_values", "can_samples"),
    "Explore": ("can_read",),
    "Api": ("can_query", "can_query_form_data", "can_time_range"),
    "Superset": (
        *("can_dashboard", "can_dashboard_permalink", "can_slice", "can_explore", "can_explore_json"),
        *(
            "can_fetch_datasource_metadata",
            "can_csv",
            "can_sqllab",
            "can_sqllab_history",
            "can_log",
            "can_language_pack",
        ),
    ),
    # A page's own state: which filter is set, which tab is open. It belongs to who looks.
    "DashboardFilterStateRestApi": ("can_read", "can_write"),
    "DashboardPermalinkRestApi": ("can_read", "can_write"),
    "ExploreFormDataRestApi": ("can_read", "can_write"),
    "ExplorePermalinkRestApi": ("can_read", "can_write"),
    # SQL Lab, with the queries that one has saved for oneself
    "SQLLab": ("can_read", "can_execute_sql_query", "can_get_results", "can_format_sql", "can_export_csv"),
    "SqlLabPermalinkRestApi": ("can_read", "can_write"),
    "SavedQuery": ("can_read", "can_write", "can_list"),
    "TabStateView": ("can_activate", "can_get", "can_post", "can_put", "can_delete", "can_delete_query"),
    "TableSchemaView": ("can_post", "can_expanded", "can_delete"),
    "Query": ("can_read",),
    "Database": ("can_read",),
    # What every page asks for
    "Annotation": ("can_read",),
    "AdvancedDataType": ("can_read",),
    "AvailableDomains": ("can_read",),
    "CssTemplate": ("can_read",),
    "CurrentUserRestApi": ("can_read",),
    "EmbeddedDashboard": ("can_read",),
    "Log": ("can_recent_activity",),
    "MenuApi": ("can_get",),
    "SecurityRestApi": ("can_read",),  # the token that a page or client shows when it sends something
    "Theme": ("can_read",),
    "UserDBModelView": ("can_userinfo",),
    **dict.fromkeys(("Home", "Dashboards", "Charts", "SQL Lab", "SQL Editor"), ("menu_access",)),
    **dict.fromkeys(("Saved Queries", "Query Search"), ("menu_access",)),
}


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Bring the database of the Superset that the environment names to its state."""
    logging.basicConfig(level=logging.WARNING)
    log.setLevel(logging.INFO)
    from superset.app import create_app

    pages = deployed_pages(environment)
    app = create_app()
    with app.app_context():
        upgrade_tables()
        make_accounts(environment)
        import_dashboards(pages, environment)
        remove_abandoned(pages)
        grant_stores()
    return 0


def upgrade_tables() -> None:
    """Superset's own tables and permissions, as this version has them."""
    import flask_migrate
    from superset import appbuilder, security_manager

    flask_migrate.upgrade()
    appbuilder.add_permissions(update_perms=True)
    security_manager.sync_role_definitions()
    log.info("tables and permissions are those of this version")


def make_accounts(environment: Mapping[str, str]) -> None:
    """The administrator and the analyst, with the passwords of the environment, each with one role."""
    from superset import security_manager

    rights = _rights((right, view) for view, rights in ANALYST_RIGHTS.items() for right in rights)
    role = security_manager.add_role(ANALYST_ROLE) or security_manager.find_role(ANALYST_ROLE)
    role.permissions = rights
    accounts = (("SUPERSET", "Admin"), ("SUPERSET_ANALYST", ANALYST_ROLE))
    for prefix, role_name in accounts:
        name, password = environment[f"{prefix}_USER"], environment[f"{prefix}_PASSWORD"]
        _set_account(name, password, security_manager.find_role(role_name))
        log.info("account %s has the role %s", name, role_name)


def _rights(wanted: Iterable[tuple[str, str]]) -> list[Any]:
    """The rights as Superset's objects; raises ``LookupError`` for one that this version does not have."""
    from superset import security_manager

    found = {pair: security_manager.find_permission_view_menu(*pair) for pair in sorted(wanted)}
    unknown = [pair for pair, right in found.items() if right is None]
    if unknown:
        raise LookupError(f"this Superset has no such rights: {unknown}")
    return list(found.values())


def _set_account(name: str, password: str, role: Any) -> None:
    from superset import db, security_manager
    from werkzeug.security import generate_password_hash

    user = security_manager.find_user(username=name)
    if user is None:
        user = security_manager.add_user(name, name.capitalize(), "lambda-dl", f"{name}@localhost", role, password)
    user.password = generate_password_hash(password)
    user.roles = [role]
    db.session.commit()


def stores(environment: Mapping[str, str]) -> dict[Store, str]:
    """The two stores' addresses, signed in as who can only read; the password is passed beside the bundle."""
    mysql = f"{environment['MYSQL_ANALYST_USER']}:XXXXXXXXXX@{environment['MYSQL_HOST']}:{environment['MYSQL_PORT']}"
    hive = f"{environment['HIVE_USER']}@{environment['HIVE_HOST']}:{environment['HIVE_PORT']}"
    return {
        "MySQL": f"mysql+pymysql://{mysql}/{environment['MYSQL_DATABASE']}",
        "Hive": f"hive://{hive}/{environment['HIVE_DATABASE']}",
    }


def import_dashboards(pages: Sequence[Pages], environment: Mapping[str, str]) -> None:
    """Import the bundle over what an earlier run imported."""
    from superset import security_manager
    from superset.commands.importers.v1.assets import ImportAssetsCommand
    from superset.utils.core import override_user

    texts = files(pages, stores(environment))
    passwords = {file_name("databases", "MySQL"): environment["MYSQL_ANALYST_PASSWORD"]}
    with override_user(security_manager.find_user(username=environment["SUPERSET_USER"])):
        ImportAssetsCommand(texts, passwords=passwords).run()
    count = sum(len(some.dashboards) for some in pages)
    log.info("%d dashboards of %d use cases, %d files imported", count, len(pages), len(texts))


def remove_abandoned(pages: Sequence[Pages]) -> None:
    """Delete the pages and charts that an earlier run made and this one does not have, and data sets that nothing uses.

    So a chart goes that a new version lacks, and all of a use case that has left the deployment. What was made here is
    known by its id, which follows from its name; what people have made stays, with its data set.
    """
    from superset import db
    from superset.connectors.sqla.models import SqlaTable
    from superset.models.dashboard import Dashboard
    from superset.models.slice import Slice

    slugs = {page.slug for some in pages for page in some.dashboards}
    _delete_abandoned(db, "dashboard", Dashboard, Dashboard.slug, slugs)
    charts = {chart.name for some in pages for chart in some.charts()}
    _delete_abandoned(db, "chart", Slice, Slice.slice_name, charts)
    db.session.flush()
    datasets = {dataset.name for some in pages for dataset in datasets_of(some.dashboards)}
    used = {number for (number,) in db.session.query(Slice.datasource_id)}
    in_use = {table.table_name for table in db.session.query(SqlaTable).filter(SqlaTable.id.in_(used))}
    _delete_abandoned(db, "dataset", SqlaTable, SqlaTable.table_name, datasets | in_use)
    db.session.commit()


def _delete_abandoned(db: Any, kind: str, model: Any, column: Any, kept: set[str]) -> None:
    """Delete the things of a kind that were made here under a name that is not kept."""
    for thing in db.session.query(model).all():
        name = getattr(thing, column.key)
        if name not in kept and str(thing.uuid) == id_of(kind, name or ""):
            log.info("%s %r is no longer there", kind, name)
            db.session.delete(thing)


def grant_stores() -> None:
    """Let analysts read the imported stores, and no database that somebody adds later."""
    from superset import db, security_manager
    from superset.models.core import Database

    role = security_manager.find_role(ANALYST_ROLE)
    for store in db.session.query(Database).filter(Database.database_name.in_(("MySQL", "Hive"))):
        security_manager.add_permission_view_menu("database_access", store.perm)
        right = security_manager.find_permission_view_menu("database_access", store.perm)
        if right not in role.permissions:
            role.permissions.append(right)
    db.session.commit()


if __name__ == "__main__":
    raise SystemExit(main())
