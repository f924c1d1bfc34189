"""Hired bikes of Washington DC: how many will be hired in an hour, asked one hour before it begins?"""

from datetime import date

from include.target import COUNT
from include.use_case import Gate, Serving, UseCase
from include.use_cases.bike_share.contracts import SOURCES, SUBJECT
from include.use_cases.bike_share.features import FEATURE_SET
from include.use_cases.bike_share.labels import labels
from include.use_cases.bike_share.quality import QUALITY
from include.use_cases.bike_share.search import SEARCH
from include.use_cases.bike_share.serving import STATISTICS
from include.use_cases.bike_share.windows import LEAD_MINUTES, TILES

USE_CASE = UseCase(
    name="bike_share",
    comment="Shared bikes of Washington DC: how many are hired in an hour",
    history_start=date(2010, 12, 31),
    sources=SOURCES,
    subject=SUBJECT,
    subject_source="hours",
    subject_time="starts_at",
    prediction_lead_minutes=LEAD_MINUTES,
    # What happened in an hour is known at its end: until it begins, nobody can know anything of it.
    minimum_lead_minutes=0,
    target=COUNT,
    tiles=TILES,
    features=FEATURE_SET,
    labels=labels,
    label_horizon_days=1,
    # At night an hour without hires is not in the data, seldom two or three in a row.
    silence_minutes={"hours": 1440, "hires": 240, "weather": 240},
    # A test day has 24 rows at most: 200 are nine days.
    gate=Gate(minimum_test_rows=200, maximum_predict_ms=25.0),
    search=SEARCH,
    slices=("hour_of_day", "working_day"),
    serving=Serving(recent_days=7, statistics=STATISTICS),
    quality=QUALITY,
)
