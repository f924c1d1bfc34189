"""What good facts are, beyond their contracts. Declarations only (Spark SQL conditions on one fact).

The thresholds are those below which no model should be trained.
"""

from include.use_case import Quality

QUALITY = Quality(
    accuracy={
        "orders": "ordered_at < promised_at",
        "deliveries": "delay_minutes * 60 = unix_seconds(delivered_at) - unix_seconds(promised_at)",
    },
    about_subjects=("deliveries",),
    # A parcel that nobody weighed is an ordinary one.
    empty_says={"orders": ("weight_kg",)},
    timely_hours=24,
    thresholds={"validity": 0.95, "accuracy": 0.95, "consistency": 0.95, "completeness": 0.5, "accessibility": 1.0},
)
