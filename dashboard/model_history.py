"""Model history: quality by version and night, promotions and rollbacks, trials. Knows models, no domain."""

from __future__ import annotations

from dashboard.figures import columns, formats, heading, metrics, names, number
from dashboard.specs import Chart, Column, Dataset, Metric, Row, Text
from include.target import Target, validated


def newest(keys: str, where: str = "") -> str:
    """What was measured, of each metric (known by ``keys``) numbered from the newest on."""
    return f"""
SELECT q.*, LEFT(q.model_id, 8) AS model, ROW_NUMBER() OVER (
  PARTITION BY {keys} ORDER BY q.time DESC) AS newest_first
FROM model_quality q
{where}"""


METRIC = "q.model_id, q.role, q.split, q.hour, q.from_ds, q.to_ds"
#: Of a metric measured again, the newest counts.
NEWEST_QUALITY = newest(METRIC)
#: What trainings measured, each of its own: the gate measures a candidate once more, without the rivals that every
#: training has, and rivals have no id that would tell one night's from another's.
TRAININGS = newest(
    f"q.measured_by, {METRIC}",
    "WHERE q.split <> 'live' AND q.measured_by IN (SELECT measured_by FROM model_quality WHERE role = 'base_rate')\n",
)


def quality(target: Target) -> Dataset:
    """What was measured of each candidate and its rivals."""
    return Dataset(
        "Quality of candidates",
        "MySQL",
        f"""
SELECT time, DATE_FORMAT(MAX(time) OVER (PARTITION BY measured_by), '%Y-%m-%d %H:%i') AS night, model, role, split,
  from_ds, to_ds, `rows` AS subjects, {names(target)},
  CASE role WHEN 'candidate' THEN 'network' WHEN 'champion' THEN 'champion before' WHEN 'base_rate' THEN 'base rate'
    WHEN 'lightgbm' THEN 'LightGBM' ELSE role END AS who
FROM ({TRAININGS}) newest WHERE newest_first = 1
""",
        (
            Column("time", "time", "When it was measured, UTC"),
            Column("night", "text", "When the training run was done, UTC"),
            Column("model", "text", "First 8 characters of the bundle's id; empty for a rival"),
            Column("role", "text"),
            Column("split", "text", "validation or test"),
            Column("from_ds", "text", "First day of the split"),
            Column("to_ds", "text", "Last day of the split"),
            Column("subjects"),
            *columns(target),
            Column("who", "text", "Role in words"),
        ),
        "One line per training night, model or rival, and split of days",
        "time",
    )


def live_hours(target: Target) -> Dataset:
    """What each hour's answers turned out to be worth."""
    skill = target.skill.name
    return Dataset(
        "Live quality by hour",
        "MySQL",
        f"""
SELECT hour, ds, model, `rows` AS subjects, {names(target)}, {skill} * `rows` AS {skill}_weighted,
  CASE WHEN {skill} IS NULL THEN 0 ELSE `rows` END AS subjects_with_{skill}
FROM ({NEWEST_QUALITY}) newest WHERE newest_first = 1 AND role = 'live' AND hour IS NOT NULL
""",
        (
            Column("hour", "time", "Start of the hour of the prediction time, UTC"),
            Column("ds", "text"),
            Column("model", "text"),
            Column("subjects"),
            *columns(target),
            Column(f"{skill}_weighted"),
            Column(f"subjects_with_{skill}"),
        ),
        "How good the champion's answers turned out to be, hour by hour, once the labels had closed",
        "hour",
    )


def live_days(target: Target) -> Dataset:
    """What each day's answers turned out to be worth."""
    return Dataset(
        "Live quality by day",
        "MySQL",
        f"""
SELECT CAST(ds AS DATETIME) AS day, model, `rows` AS subjects, {names(target)}
FROM ({NEWEST_QUALITY}) newest WHERE newest_first = 1 AND role = 'live' AND hour IS NULL
""",
        (
            Column("day", "time", "Day of the prediction time, UTC"),
            Column("model", "text"),
            Column("subjects"),
            *columns(target),
        ),
        "How good each model's answers of a day turned out to be",
        "day",
    )


LEDGER = Dataset(
    "Ledger",
    "Hive",
    """
SELECT sequence, from_time, to_time, event, SUBSTR(model_id, 1, 8) AS model, actor, reason FROM champions
""",
    (
        Column("sequence"),
        Column("from_time", "time", "Champion from here on, UTC"),
        Column("to_time", "time", "Until here, UTC; empty: it still is"),
        Column("event", "text", "promoted or rolled_back"),
        Column("model", "text"),
        Column("actor", "text"),
        Column("reason", "text"),
    ),
    "Every promotion and rollback, from the append-only ledger, and from when to when each model served",
    "from_time",
)


def trials(target: Target) -> Dataset:
    """The trials of the searches."""
    skill, loss = validated(target.skill), validated(target.loss)
    return Dataset(
        "Trials of the search",
        "Hive",
        f"""
SELECT time, run_id, trial_id, status, epochs, seconds, {skill}, {loss},
  get_json_object(config, '$.learning_rate') AS learning_rate
FROM training_runs
""",
        (
            Column("time", "time"),
            Column("run_id", "text"),
            Column("trial_id", "text"),
            Column("status", "text", "finished, stopped (by the scheduler) or failed"),
            Column("epochs"),
            Column("seconds"),
            Column(skill),
            Column(loss),
            Column("learning_rate", "text"),
        ),
        "One line per trial of each night's search",
        "time",
    )


def by_night(target: Target) -> Row:
    """Skill and loss on the test days, by training night."""
    end, skill, loss = "end of the training run, UTC", target.skill, target.loss
    # A share of explained deviance may lie anywhere below 0: the axis then begins where the values do.
    lowest = None if target.kind == "count" else target.no_skill - 0.05
    return (
        Chart(
            f"{heading(skill)} on the test days, by training night",
            quality(target),
            "echarts_timeseries_bar",
            f"{heading(skill)} on days that no search has seen: {target.no_skill:g} is what knowing nothing gives. "
            "The network beside its rivals.",
            (Metric(f"AVG({skill.name})", heading(skill)),),
            ("who",),
            x="night",
            where="split = 'test'",
            options={"y_axis_format": ".3f", "show_value": True, "truncateYAxis": True, "y_axis_bounds": [lowest, None]}
            | {"y_axis_title": skill.words, "x_axis_title": end},
        ),
        Chart(
            f"{heading(loss)} on the test days, by training night",
            quality(target),
            "echarts_timeseries_bar",
            f"{loss.comment}; lower is better. The gate compares this figure.",
            (Metric(f"AVG({loss.name})", heading(loss)),),
            ("who",),
            x="night",
            where="split = 'test'",
            options={"y_axis_format": ".3f", "show_value": True, "y_axis_title": loss.words, "x_axis_title": end},
        ),
    )


def versions(target: Target) -> Chart:
    """Every night's network and rivals."""
    return Chart(
        "Versions and rivals on the test days",
        quality(target),
        "table",
        "Each training night's network beside the champion of the time, the base rate and LightGBM.",
        metrics(target),
        ("night", "who", "model", "from_ds", "to_ds"),
        where="split = 'test'",
        options={"column_config": formats(target), "server_page_length": 20, "order_desc": True},
        width=12,
        height=36,
    )


def by_day(target: Target) -> Row:
    """What the answers of each day were worth."""
    skill = target.skill
    return (
        Chart(
            f"Live {skill.words} by day and model",
            live_days(target),
            "echarts_timeseries_bar",
            "What the champion's answers of each day were worth, once the labels had closed.",
            (Metric(f"AVG({skill.name})", f"Live {skill.words}"),),
            ("model",),
            x="day",
            options={"y_axis_format": ".2f", "y_axis_bounds": [target.no_skill, None], "truncateYAxis": True}
            | {"show_value": True, "x_axis_time_format": "%Y-%m-%d", "y_axis_title": skill.words},
        ),
        live_table(target, "Live quality by day and model", "The same with every figure, and how many were labelled."),
    )


def live_table(target: Target, name: str, description: str) -> Chart:
    """All figures of each day's answers."""
    return Chart(
        name,
        live_days(target),
        "table",
        description,
        metrics(target),
        ("day", "model"),
        options={"column_config": formats(target), "table_timestamp_format": "%Y-%m-%d"},
    )


PROMOTIONS = Chart(
    "Promotions and rollbacks",
    LEDGER,
    "table",
    "The ledger: its last line names the champion.",
    columns=("sequence", "from_time", "to_time", "event", "model", "actor", "reason"),
    options={"order_by_cols": ['["sequence", false]']},
    width=12,
    height=34,
)


def searched(target: Target) -> Row:
    """Each trial of the searches."""
    skill, loss = target.skill, target.loss
    lowest = f"MIN({validated(loss)})"
    return (
        Chart(
            f"Trials of the search: validation {loss.words}",
            trials(target),
            "echarts_timeseries_scatter",
            "Each point is one trial. Trials that the scheduler stopped early lie higher.",
            (Metric(lowest, f"Validation {loss.words}"),),
            ("status",),
            x="time",
            options={"y_axis_format": ".3f", "markerSize": 10, "truncateYAxis": True, "y_axis_bounds": [None, None]}
            | {"x_axis_time_format": "%H:%M", "y_axis_title": loss.words},
        ),
        Chart(
            "Trials of the search",
            trials(target),
            "table",
            "What each trial reached, and how long it took.",
            (
                Metric(lowest, heading(loss)),
                Metric(f"MAX({validated(skill)})", heading(skill)),
                Metric("MAX(epochs)", "Epochs"),
                Metric("MAX(seconds)", "Seconds"),
            ),
            ("trial_id", "status"),
            options={"column_config": formats(target) | {"Seconds": number(".1f"), "Epochs": number(".1f")}},
        ),
    )


SEARCH_NOTE = Text(
    "Every training night searches hyper-parameters. From **Hive**: the first look after a while takes seconds."
)


def quality_rows(target: Target) -> tuple[Row, ...]:
    """What models are worth, and which one served when."""
    return by_night(target), (versions(target),), by_day(target), (PROMOTIONS,)


def search_rows(target: Target) -> tuple[Row, ...]:
    """How they were found."""
    return (SEARCH_NOTE,), searched(target)
