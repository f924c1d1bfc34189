"""Parcels: will a parcel come late or not at all, judged two hours before it is promised?"""

from datetime import date

from include.use_case import Gate, Serving, UseCase
from include.use_cases.template.contracts import SOURCES, SUBJECT
from include.use_cases.template.features import FEATURE_SET
from include.use_cases.template.labels import labels
from include.use_cases.template.quality import QUALITY
from include.use_cases.template.search import SEARCH
from include.use_cases.template.serving import STATISTICS
from include.use_cases.template.windows import TILES

USE_CASE = UseCase(
    name="template",
    comment="Parcels: late by more than 15 minutes, or not delivered by the end of the next day",
    history_start=date(2024, 1, 1),
    sources=SOURCES,
    subject=SUBJECT,
    subject_source="orders",
    subject_time="promised_at",
    prediction_lead_minutes=120,
    # No parcel is handed over more than an hour before it is promised: nearer than that a client could ask about a
    # parcel that has been delivered.
    minimum_lead_minutes=60,
    tiles=TILES,
    features=FEATURE_SET,
    labels=labels,
    label_horizon_days=1,
    # Nights are quiet: nothing is delivered between eight in the evening and eight in the morning.
    silence_minutes={"orders": 1440, "deliveries": 960, "traffic": 180},
    gate=Gate(maximum_calibration_error=0.10, minimum_test_rows=200, maximum_predict_ms=25.0),
    search=SEARCH,
    slices=("depot",),
    serving=Serving(recent_days=7, statistics=STATISTICS),
    quality=QUALITY,
)
