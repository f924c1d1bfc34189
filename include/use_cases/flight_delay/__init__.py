"""Flight delays out of New York: will a flight be late, cancelled or diverted, one hour before it should leave?"""

from datetime import date

from include.use_case import Gate, Serving, UseCase
from include.use_cases.flight_delay.contracts import SOURCES, SUBJECT
from include.use_cases.flight_delay.features import FEATURE_SET
from include.use_cases.flight_delay.labels import labels
from include.use_cases.flight_delay.quality import QUALITY
from include.use_cases.flight_delay.windows import TILES


def _serving() -> Serving:
    """The analysts' statistics, if this deployment has them: the predictor runs without Spark and without them."""
    try:
        from include.use_cases.flight_delay.serving import STATISTICS
    except ModuleNotFoundError as error:
        if error.name != "include.use_cases.flight_delay.serving":
            raise
        return Serving()
    return Serving(recent_days=7, statistics=STATISTICS)


USE_CASE = UseCase(
    name="flight_delay",
    comment="Flights out of New York: late by more than 15 minutes, cancelled or diverted",
    history_start=date(2012, 12, 31),
    sources=SOURCES,
    subject=SUBJECT,
    subject_source="schedule",
    subject_time="scheduled_departure",
    prediction_lead_minutes=60,
    minimum_lead_minutes=45,
    tiles=TILES,
    features=FEATURE_SET,
    labels=labels,
    label_horizon_days=1,
    # Nights are quiet: nothing leaves New York between one and five.
    silence_minutes={"schedule": 360, "departures": 360, "arrivals": 360, "weather": 180},
    # Also for a demonstration on some days: two test days have some 1,500 flights. A year's model is calibrated to
    # about 0.01, one of ten days to a few hundredths; one row takes less than a millisecond on an idle machine.
    gate=Gate(maximum_calibration_error=0.10, minimum_test_rows=200, maximum_predict_ms=25.0),
    slices=("carrier", "origin", "hour_of_day"),
    serving=_serving(),
    quality=QUALITY,
)
