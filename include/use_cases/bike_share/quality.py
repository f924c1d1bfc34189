"""What good facts are, beyond their contracts. Declarations only (Spark SQL conditions on one fact).

The thresholds are those below which no model should be trained.
"""

from include.use_case import Quality

IDENTITY = (
    "id = date_format(starts_at, \"yyyyMMdd'T'HHmm'Z'\") "
    "AND hour_of_day = hour(from_utc_timestamp(starts_at, 'America/New_York')) AND minute(starts_at) = 0"
)

QUALITY = Quality(
    accuracy={
        "hours": f"{IDENTITY} AND holiday + working_day < 2",
        "hires": f"{IDENTITY} AND total = casual + registered AND ends_at > starts_at",
        "weather": IDENTITY,
    },
    about_subjects=("hires", "weather"),
    timely_hours=24,
    thresholds={"validity": 0.95, "accuracy": 0.95, "consistency": 0.95, "completeness": 0.5, "accessibility": 1.0},
)
