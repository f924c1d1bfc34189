"""Operations: how fresh the store is, how good, how fast and how many the answers are. Knows no domain."""

from __future__ import annotations

from dataclasses import replace

from dashboard import alerts
from dashboard.figures import WHOLE, level, level_format, number
from dashboard.model_history import live_hours, live_table
from dashboard.specs import Chart, Column, Dataset, Metric, Row, Tab
from include.target import Target

REFRESHES = Dataset(
    "Refreshes",
    "MySQL",
    """
SELECT table_name, row_count, seconds, complete_through, as_of, layer,
  TIMESTAMPDIFF(SECOND, as_of, UTC_TIMESTAMP()) / 60 AS age_minutes
FROM (SELECT l.*, ROW_NUMBER() OVER (PARTITION BY table_name ORDER BY as_of DESC) AS newest_first FROM refresh_log l) x
WHERE newest_first = 1
""",
    (
        Column("table_name", "text"),
        Column("row_count"),
        Column("seconds", description="How long the refresh took, all tables together"),
        Column("complete_through", "time", "Facts are complete up to here, UTC"),
        Column("as_of", "time", "When the refresh read the lake, UTC"),
        Column("layer", "text"),
        Column("age_minutes", description="Minutes since then"),
    ),
    "The last refresh of each table",
    "as_of",
)

#: The doors that queries come through, by the name of their latency's histogram.
_BUCKETS = """
SELECT door, bound, SUM(answers) AS answers FROM (
  SELECT instance, IF(LEFT(name, 5) = 'kafka', 'Kafka, a batch', 'HTTP, a request') AS door,
    SUBSTRING_INDEX(SUBSTRING_INDEX(name, '"', 2), '"', -1) AS bound, MAX(value) AS answers
  FROM runtime_metrics
  WHERE LEFT(name, 23) = 'predict_seconds_bucket{' OR LEFT(name, 29) = 'kafka_predict_seconds_bucket{'
  GROUP BY instance, door, bound) newest
GROUP BY door, bound
"""

LATENCY = Dataset(
    "Latency of answers",
    "MySQL",
    f"""
SELECT door, bound, milliseconds, answers - COALESCE(LAG(answers) OVER (PARTITION BY door ORDER BY milliseconds), 0)
    AS answers,
  CASE WHEN bound = '+Inf' THEN '> 2500' ELSE CONCAT('≤ ', TRIM(TRAILING '.0' FROM FORMAT(milliseconds, 1, 'en_US')))
    END AS label
FROM (SELECT door, bound, answers, IF(bound = '+Inf', 1e9, CAST(bound AS DOUBLE) * 1000) AS milliseconds
  FROM ({_BUCKETS}) b) c
""",
    (
        Column("door", "text", "A request over HTTP, or a batch of queries from Kafka"),
        Column("bound", "text"),
        Column("milliseconds"),
        Column("answers"),
        Column("label", "text", "Answered within so many milliseconds"),
    ),
    "How many answers each bucket of latency has, all processes since they started",
)

QUANTILES = Dataset(
    "Quantiles of latency",
    "MySQL",
    f"""
SELECT door, MAX(total) AS answers,
  MIN(CASE WHEN answers >= 0.50 * total THEN milliseconds END) AS p50,
  MIN(CASE WHEN answers >= 0.95 * total THEN milliseconds END) AS p95,
  MIN(CASE WHEN answers >= 0.99 * total THEN milliseconds END) AS p99
FROM (SELECT door, answers, MAX(answers) OVER (PARTITION BY door) AS total,
    IF(bound = '+Inf', NULL, CAST(bound AS DOUBLE) * 1000) AS milliseconds FROM ({_BUCKETS}) b) c
WHERE total > 0 GROUP BY door
""",
    (
        Column("door", "text"),
        Column("answers"),
        Column("p50", description="Milliseconds, upper bound of the bucket"),
        Column("p95"),
        Column("p99"),
    ),
    "Quantiles of the time to answer, as upper bounds",
)

RATES = Dataset(
    "Answers per minute",
    "MySQL",
    """
SELECT time, what, GREATEST(0, value - earlier) AS answers FROM (
  SELECT time, IF(name = 'predictions_total{degraded="true"}', 'degraded', 'complete') AS what, value,
    LAG(value) OVER (PARTITION BY instance, name ORDER BY time) AS earlier
  FROM runtime_metrics WHERE LEFT(name, 18) = 'predictions_total{') counters
WHERE earlier IS NOT NULL
""",
    (
        Column("time", "time", "When the counter was read, UTC"),
        Column("what", "text", "complete, or degraded: a source was silent, or its windows had a hole"),
        Column("answers"),
    ),
    "Answers since the counter was read before, a minute earlier",
    "time",
)


def _moment(name: str, layer: str, subheader: str, description: str) -> Chart:
    return Chart(
        name,
        REFRESHES,
        "big_number_total",
        description,
        (Metric("MAX(complete_through)", "Complete through"),),
        where=f"layer = '{layer}'",
        options={"force_timestamp_formatting": True, "time_format": "%Y-%m-%d %H:%M", "subheader": subheader},
        width=3,
        height=26,
    )


COMPLETE_THROUGH = _moment(
    "Complete through (UTC)",
    "speed",
    "everything known before is counted",
    "How far both layers have come: every fact that became available before this moment is counted on this page.",
)
CLOSED_THROUGH = _moment(
    "Closed through (UTC)",
    "batch",
    "batch up to here, then speed",
    "The end of the last closed day. Numbers of days before are the batch layer's and final.",
)
TABLES = Chart(
    "How fresh each table is",
    REFRESHES,
    "table",
    "Each table of the short-term store: batch has the closed days, speed (_open) the day after. All change at once.",
    (
        Metric("MAX(row_count)", "Rows"),
        Metric("MAX(complete_through)", "Complete through"),
        Metric("MAX(as_of)", "Refreshed at"),
        Metric("MAX(age_minutes)", "Minutes ago"),
        Metric("MAX(seconds)", "Seconds taken"),
    ),
    ("layer", "table_name"),
    options={
        "column_config": {
            "Rows": WHOLE,
            "Minutes ago": number(",.0f"),
            "Seconds taken": number(".1f"),
        }
    },
)


def live_skill(target: Target) -> Chart:
    """How well each hour's answers told what would happen."""
    skill = target.skill
    weighted, subjects = f"SUM({skill.name}_weighted)", f"subjects_with_{skill.name}"
    return Chart(
        f"Live {skill.words} by hour",
        live_hours(target),
        "echarts_timeseries_line",
        f"What the answers of an hour were worth, once the labels had closed. {target.no_skill:g} is what knowing "
        "nothing gives. Hours with fewer than 20 answers are left out.",
        (Metric(f"{weighted} / NULLIF(SUM({subjects}), 0)", f"Live {skill.words}"),),
        ("model",),
        x="hour",
        where=f"{subjects} >= 20",
        options={"y_axis_format": ".2f", "markerEnabled": True, "markerSize": 7, "x_axis_time_format": "%b %d %H:%M"}
        | {"truncateYAxis": True, "y_axis_bounds": [target.no_skill - 0.1, 1], "y_axis_title": skill.words},
    )


def counted(target: Target) -> Chart:
    """Each hour's mean answer beside the mean of what came: hours often have too few counts for a figure of skill."""
    answer = target.answer
    hours = Dataset(
        "Predicted and observed by hour",
        "MySQL",
        f"""
SELECT CAST(DATE_FORMAT(prediction_time, '%Y-%m-%d %H:00:00') AS DATETIME) AS hour, COUNT(*) AS subjects,
  AVG({answer}) AS predicted, AVG(label) AS observed
FROM predictions_now WHERE label IS NOT NULL GROUP BY hour
""",
        (
            Column("hour", "time", "Hour of the prediction time, UTC"),
            Column("subjects", description="Answers whose outcome is known"),
            Column("predicted", description="Their mean"),
            Column("observed", description="The mean of what came"),
        ),
        "Recent predictions whose outcome is known, by hour of the prediction time",
        "hour",
    )
    return Chart(
        "Predicted and observed by hour",
        hours,
        "echarts_timeseries_line",
        "The mean answer of each hour beside the mean of what came, once the labels had closed.",
        (Metric("AVG(predicted)", "predicted"), Metric("AVG(observed)", "observed")),
        x="hour",
        options={"y_axis_format": level_format(target), "y_axis_title": f"{level(target)} a subject"}
        | {"x_axis_time_format": "%b %d %H:%M", "x_axis_title": "prediction time, UTC"},
    )


def calibration(target: Target) -> Chart:
    """Whether answers are as high as what comes."""
    answer = target.answer
    # A share of few labels is mostly chance; the mean of few counts already says something.
    fewest = 1 if target.kind == "count" else 20
    steps = Dataset(
        "Calibration",
        "MySQL",
        f"""
SELECT {answer}_from, SUM(labelled) AS labelled,
  SUM(mean_{answer}_labelled * labelled) / SUM(labelled) AS predicted, SUM(positives) / SUM(labelled) AS observed
FROM prediction_stats_now GROUP BY {answer}_from HAVING SUM(labelled) >= {fewest}
""",
        (
            Column(f"{answer}_from", description="Lower end of the step"),
            Column("labelled", description="Predictions whose outcome is known"),
            Column("predicted", description="Their mean answer"),
            Column("observed", description="The mean of their labels"),
        ),
        f"Recent predictions whose outcome is known by steps of the {answer}, steps with at least {fewest} of them",
    )
    return Chart(
        "Calibration: predicted and observed",
        steps,
        "echarts_timeseries_bar",
        f"Predictions with a known outcome by steps of the {answer}. The two bars of a step should be of equal height.",
        (Metric("SUM(predicted)", "predicted"), Metric("SUM(observed)", "observed")),
        x=f"{answer}_from",
        options={"y_axis_format": level_format(target), "y_axis_title": level(target), "xAxisForceCategorical": True}
        | {"x_axis_title": f"predicted {answer}, from"},
    )


def answered(target: Target) -> Chart:
    """How many answers each day has, by layer, and what was predicted and observed on average."""
    answer, word = target.answer, level(target)
    days = Dataset(
        "Answers by day and layer",
        "MySQL",
        f"""
SELECT CAST(ds AS DATETIME) AS day, layer, complete_through, model_id, predictions, degraded, labelled, positives,
  mean_{answer} * predictions AS {answer}
FROM prediction_stats_now
""",
        (
            Column("day", "time", "Day of the prediction time, UTC"),
            Column("layer", "text", "batch: logged in the archive; speed: on Kafka so far"),
            Column("complete_through", "time", "Facts are complete up to here, UTC"),
            Column("model_id", "text"),
            Column("predictions", description="Predictions answered"),
            Column("degraded", description="Of these, with a source that was silent for too long"),
            Column("labelled", description="Of these, with a known outcome: none until the day's labels close"),
            Column("positives", description="Sum of the labels of those"),
            Column(answer, description="Sum of the answers"),
        ),
        f"Recent answers of closed days and of the open one, counted by day, model and step of the {answer}",
        "day",
    )
    return Chart(
        "Answers by day and layer",
        days,
        "table",
        "Answers given, and of how many the outcome is known. batch: logged in the archive; speed: on Kafka so far.",
        (
            Metric("SUM(predictions)", "Answers"),
            Metric("SUM(labelled)", "Outcome known"),
            Metric("SUM(degraded)", "Degraded"),
            Metric(f"SUM({answer}) / SUM(predictions)", f"Predicted {word}"),
            Metric("SUM(positives) / NULLIF(SUM(labelled), 0)", f"Observed {word}"),
            Metric("MAX(complete_through)", "Complete through"),
        ),
        ("day", "layer"),
        options={
            "column_config": {
                **dict.fromkeys(("Answers", "Outcome known", "Degraded"), WHOLE),
                **dict.fromkeys((f"Predicted {word}", f"Observed {word}"), number(level_format(target))),
            },
            "table_timestamp_format": "%Y-%m-%d %H:%M",
        },
        width=12,
        height=34,
    )


ANSWERS = Chart(
    "Answers per minute",
    RATES,
    "echarts_timeseries_bar",
    "Predictions answered between two readings of the counters. Degraded: a source was silent for too long.",
    (Metric("SUM(answers)", "Answers"),),
    ("what",),
    x="time",
    options={"stack": "Stack", "y_axis_format": ",d", "x_axis_time_format": "%H:%M", "y_axis_title": "answers"},
)
LATENCY_BARS = Chart(
    "Time to answer",
    LATENCY,
    "echarts_timeseries_bar",
    "How many took how long, from the query in hand to the answer: requests over HTTP, batches of queries from Kafka.",
    (Metric("SUM(answers)", "Answers"),),
    ("door",),
    x="milliseconds",
    where="milliseconds <= 2500",
    options={"y_axis_format": ",d", "xAxisForceCategorical": True, "x_axis_title": "milliseconds, at most"}
    | {"y_axis_title": "requests or batches"},
)
LATENCY_TABLE = Chart(
    "Quantiles of the time to answer",
    QUANTILES,
    "table",
    "Upper bounds in milliseconds, since the processes started.",
    (
        Metric("SUM(answers)", "Requests or batches"),
        Metric("MAX(p50)", "p50, ms"),
        Metric("MAX(p95)", "p95, ms"),
        Metric("MAX(p99)", "p99, ms"),
    ),
    ("door",),
    options={
        "column_config": {
            "Requests or batches": WHOLE,
            **{name: number(",.1f") for name in ("p50, ms", "p95, ms", "p99, ms")},
        }
    },
)


def predictions(target: Target, *first: Row) -> Tab:
    """What was answered, how well and how fast, below some rows of its own."""
    live = live_table(
        target,
        "Live quality of the recent days",
        "Per day and model: quality of the answers given, on those whose label has closed.",
    )
    return Tab(
        "Predictions",
        (
            *first,
            (answered(target),),
            (counted(target) if target.kind == "count" else live_skill(target), calibration(target)),
            (ANSWERS, LATENCY_BARS),
            (LATENCY_TABLE, live),
        ),
    )


FRESHNESS = Tab("Freshness", ((replace(TABLES, width=12, height=80),),))
ALERTS = Tab("Alerts", alerts.ROWS)
