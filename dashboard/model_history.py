"""Model history: quality by version and night, promotions and rollbacks, trials. Knows models, no domain."""

from __future__ import annotations

from dashboard.specs import Chart, Column, Dataset, Metric, Row, Text

#: Of a metric measured again, the newest counts.
NEWEST_QUALITY = """
SELECT q.*, LEFT(q.model_id, 8) AS model, ROW_NUMBER() OVER (
  PARTITION BY q.model_id, q.role, q.split, q.hour, q.from_ds, q.to_ds ORDER BY q.time DESC) AS newest_first
FROM model_quality q
"""

QUALITY = Dataset(
    "Quality of candidates",
    "MySQL",
    f"""
SELECT time, DATE_FORMAT(MAX(time) OVER (PARTITION BY measured_by), '%Y-%m-%d %H:%i') AS night, model, role, split,
  from_ds, to_ds, `rows` AS subjects, auc, log_loss, brier, calibration_error,
  CASE role WHEN 'candidate' THEN 'network' WHEN 'champion' THEN 'champion before' WHEN 'base_rate' THEN 'base rate'
    WHEN 'lightgbm' THEN 'LightGBM' ELSE role END AS who
FROM ({NEWEST_QUALITY}) newest WHERE newest_first = 1 AND split <> 'live'
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
        Column("auc"),
        Column("log_loss"),
        Column("brier"),
        Column("calibration_error"),
        Column("who", "text", "Role in words"),
    ),
    "One line per training night, model or rival, and split of days",
    "time",
)

LIVE = Dataset(
    "Live quality by hour",
    "MySQL",
    f"""
SELECT hour, ds, model, `rows` AS subjects, auc, log_loss, calibration_error, auc * `rows` AS auc_weighted,
  CASE WHEN auc IS NULL THEN 0 ELSE `rows` END AS subjects_with_auc
FROM ({NEWEST_QUALITY}) newest WHERE newest_first = 1 AND role = 'live' AND hour IS NOT NULL
""",
    (
        Column("hour", "time", "Start of the hour of the prediction time, UTC"),
        Column("ds", "text"),
        Column("model", "text"),
        Column("subjects"),
        Column("auc"),
        Column("log_loss"),
        Column("calibration_error"),
        Column("auc_weighted"),
        Column("subjects_with_auc"),
    ),
    "How good the champion's answers turned out to be, hour by hour, once the labels had closed",
    "hour",
)

LIVE_DAYS = Dataset(
    "Live quality by day",
    "MySQL",
    f"""
SELECT CAST(ds AS DATETIME) AS day, model, `rows` AS subjects, auc, log_loss, brier, calibration_error
FROM ({NEWEST_QUALITY}) newest WHERE newest_first = 1 AND role = 'live' AND hour IS NULL
""",
    (
        Column("day", "time", "Day of the prediction time, UTC"),
        Column("model", "text"),
        Column("subjects"),
        Column("auc"),
        Column("log_loss"),
        Column("brier"),
        Column("calibration_error"),
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

TRIALS = Dataset(
    "Trials of the search",
    "Hive",
    """
SELECT time, run_id, trial_id, status, epochs, seconds, validation_auc, validation_log_loss,
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
        Column("validation_auc"),
        Column("validation_log_loss"),
        Column("learning_rate", "text"),
    ),
    "One line per trial of each night's search",
    "time",
)

FORMATS = {
    "AUC": {"d3NumberFormat": ".4f"},
    "Log-loss": {"d3NumberFormat": ".4f"},
    "Brier": {"d3NumberFormat": ".4f"},
    "Calibration error": {"d3NumberFormat": ".4f"},
    "Subjects": {"d3NumberFormat": ",d"},
}
FIGURES = (
    Metric("AVG(auc)", "AUC"),
    Metric("AVG(log_loss)", "Log-loss"),
    Metric("AVG(brier)", "Brier"),
    Metric("AVG(calibration_error)", "Calibration error"),
    Metric("SUM(subjects)", "Subjects"),
)

AUC_BY_NIGHT = Chart(
    "AUC on the test days, by training night",
    QUALITY,
    "echarts_timeseries_bar",
    "Area under the ROC curve on days that no search has seen; 0.5 is chance. The network beside its rivals.",
    (Metric("AVG(auc)", "AUC"),),
    ("who",),
    x="night",
    where="split = 'test'",
    options={"y_axis_format": ".3f", "show_value": True, "truncateYAxis": True, "y_axis_bounds": [0.45, None]}
    | {"y_axis_title": "AUC", "x_axis_title": "end of the training run, UTC"},
)
LOG_LOSS_BY_NIGHT = Chart(
    "Log-loss on the test days, by training night",
    QUALITY,
    "echarts_timeseries_bar",
    "Mean negative log-likelihood in nats; lower is better. The gate compares this figure.",
    (Metric("AVG(log_loss)", "Log-loss"),),
    ("who",),
    x="night",
    where="split = 'test'",
    options={"y_axis_format": ".3f", "show_value": True, "y_axis_title": "log-loss, nats"}
    | {"x_axis_title": "end of the training run, UTC"},
)
VERSIONS = Chart(
    "Versions and rivals on the test days",
    QUALITY,
    "table",
    "Each training night's network beside the champion of the time, the base rate and LightGBM.",
    FIGURES,
    ("night", "who", "model", "from_ds", "to_ds"),
    where="split = 'test'",
    options={"column_config": FORMATS, "server_page_length": 20, "order_desc": True},
    width=12,
    height=36,
)
LIVE_BY_DAY = Chart(
    "Live AUC by day and model",
    LIVE_DAYS,
    "echarts_timeseries_bar",
    "What the champion's answers of each day were worth, once the labels had closed.",
    (Metric("AVG(auc)", "Live AUC"),),
    ("model",),
    x="day",
    options={"y_axis_format": ".2f", "y_axis_bounds": [0.5, None], "truncateYAxis": True, "show_value": True}
    | {"x_axis_time_format": "%Y-%m-%d", "y_axis_title": "AUC"},
)
LIVE_TABLE = Chart(
    "Live quality by day and model",
    LIVE_DAYS,
    "table",
    "The same with log-loss, Brier score, calibration error and the number of labelled answers.",
    FIGURES,
    ("day", "model"),
    options={"column_config": FORMATS, "table_timestamp_format": "%Y-%m-%d"},
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
TRIAL_SCATTER = Chart(
    "Trials of the search: validation log-loss",
    TRIALS,
    "echarts_timeseries_scatter",
    "Each point is one trial. Trials that the scheduler stopped early lie higher.",
    (Metric("MIN(validation_log_loss)", "Validation log-loss"),),
    ("status",),
    x="time",
    options={"y_axis_format": ".3f", "markerSize": 10, "truncateYAxis": True, "y_axis_bounds": [None, None]}
    | {"x_axis_time_format": "%H:%M", "y_axis_title": "log-loss, nats"},
)
TRIAL_TABLE = Chart(
    "Trials of the search",
    TRIALS,
    "table",
    "What each trial reached, and how long it took.",
    (
        Metric("MIN(validation_log_loss)", "Log-loss"),
        Metric("MAX(validation_auc)", "AUC"),
        Metric("MAX(epochs)", "Epochs"),
        Metric("MAX(seconds)", "Seconds"),
    ),
    ("trial_id", "status"),
    options={"column_config": FORMATS | {"Seconds": {"d3NumberFormat": ".1f"}, "Epochs": {"d3NumberFormat": ".1f"}}},
)

QUALITY_ROWS: tuple[Row, ...] = (
    (AUC_BY_NIGHT, LOG_LOSS_BY_NIGHT),
    (VERSIONS,),
    (LIVE_BY_DAY, LIVE_TABLE),
    (PROMOTIONS,),
)
SEARCH_ROWS: tuple[Row, ...] = (
    (
        Text(
            "Every training night searches hyper-parameters. From **Hive**: the first look after a while takes seconds."
        ),
    ),
    (TRIAL_SCATTER, TRIAL_TABLE),
)
