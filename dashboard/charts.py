"""Charts and columns that several pages have alike: a big number, a heat map, hours and days of both layers.

Knows no domain: what is counted, by what and in which words is said by who calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboard.figures import Format
from dashboard.specs import Chart, Column, Dataset, Metric

#: For raw facts and the quarantine, which are never deleted: those of withdrawn files do not count.
COUNTING = "landing_key NOT IN (SELECT landing_key FROM retracted_files)"
#: The columns of an hour of ``hourly_stats_now``, as ``HOUR_COLUMNS`` declares them.
HOUR_SQL = """hour, CONCAT(LPAD(HOUR(hour), 2, '0'), 'h') AS hour_of_day, CAST(ds AS DATETIME) AS day, ds, layer,
  complete_through"""
HOUR_COLUMNS = (
    Column("hour", "time", "Start of the hour, UTC"),
    Column("hour_of_day", "text", "Hour of the day, UTC"),
    Column("day", "time"),
    Column("ds", "text", "UTC day"),
    Column("layer", "text", "batch: a closed day; speed: the open one"),
    Column("complete_through", "time", "Facts are complete up to here, UTC"),
)


def big_number(
    name: str,
    dataset: Dataset,
    metric: Metric,
    pattern: str,
    words: str,
    *,
    description: str = "",
    where: str = "",
    width: int = 2,
    height: int = 26,
) -> Chart:
    """One number, written by a pattern of d3-format; the words below it are its description too, if it has no other."""
    return Chart(
        name,
        dataset,
        "big_number_total",
        description or words,
        (metric,),
        where=where,
        options={"y_axis_format": pattern, "subheader": words},
        width=width,
        height=height,
    )


def heatmap_options(scheme: str, pattern: str, left_margin: int) -> dict[str, Any]:
    """Options of a heat map whose cells show their values: names of rows from the top down, columns rising."""
    return {
        "linear_color_scheme": scheme,
        "y_axis_format": pattern,
        "sort_x_axis": "alpha_asc",
        "sort_y_axis": "alpha_desc",
        "normalize_across": "heatmap",
        "legend_type": "continuous",
        "show_legend": True,
        "show_values": True,
        "xscale_interval": 1,
        "yscale_interval": 1,
        "bottom_margin": "auto",
        "left_margin": left_margin,
    }


def days_by_layer(
    hours: Dataset, metrics: tuple[Metric, ...], formats: Mapping[str, Format], *, where: str = ""
) -> Chart:
    """Each day of a data set with ``HOUR_COLUMNS``, newest first, and which layer counted it."""
    return Chart(
        "Days: which layer, how complete",
        hours,
        "table",
        "Each day's numbers with the layer that counted them: batch has closed days, speed the open one so far.",
        (Metric("MAX(complete_through)", "Complete through (UTC)"), *metrics),
        ("day", "layer"),
        where=where,
        highest_first=Metric("MAX(day)", "Newest"),
        options={"column_config": formats},
    )
