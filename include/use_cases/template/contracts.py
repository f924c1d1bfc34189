"""What the facts must look like, and when each becomes known.

Times are UTC. A parcel's ``id`` is the same in every source, so that its facts can be joined.
"""

from include.contracts.contract import Contract, Field, MomentRule

ID = Field("id", "string", "Parcel, e.g. 20240105-0042")
DEPOT = Field("depot", "string", "Depot that it leaves from", max_length=32)
COURIER = Field("courier", "string", "Who brings it", max_length=16)
PROMISED_AT = Field("promised_at", "timestamp", "When it is promised, UTC")
WEIGHT = Field("weight_kg", "double", "Weight, kilograms, if it was weighed", nullable=True, minimum=0, maximum=1000)
IDENTITY = (ID, DEPOT, COURIER, PROMISED_AT)

ORDERS = Contract(
    name="orders",
    version=1,
    comment="Parcels to be brought; known when they are ordered, up to two days ahead",
    fields=(*IDENTITY, WEIGHT, Field("ordered_at", "timestamp", "When it was ordered, UTC")),
    key="id",
    event_time=MomentRule("promised_at"),
    available_time=MomentRule("ordered_at"),
    announced_days=2,
)

DELIVERIES = Contract(
    name="deliveries",
    version=1,
    comment="Parcels handed over; lost ones never are",
    fields=(
        *IDENTITY,
        Field("delivered_at", "timestamp", "When it was handed over, UTC"),
        Field("delay_minutes", "integer", "Minutes after the promise, negative if early", minimum=-60, maximum=1000),
    ),
    key="id",
    event_time=MomentRule("delivered_at"),
    available_time=MomentRule("delivered_at"),
)

TRAFFIC = Contract(
    name="traffic",
    version=1,
    comment="One hour's traffic around a depot, known at the end of the hour",
    fields=(
        Field("id", "string", "Depot and hour, e.g. north-20240105T08"),
        DEPOT,
        Field("hour", "timestamp", "Start of the hour, UTC"),
        Field("level", "double", "0 is empty, 1 is usual", nullable=True, minimum=0, maximum=100),
    ),
    key="id",
    event_time=MomentRule("hour"),
    available_time=MomentRule("hour", plus_minutes=60),
)

SOURCES = (ORDERS, DELIVERIES, TRAFFIC)

SUBJECT = Contract(
    name="subject",
    version=1,
    comment="A parcel to predict for",
    fields=(
        *IDENTITY,
        WEIGHT,
        Field("prediction_time", "timestamp", "Use only what was known then, UTC", nullable=True),
    ),
    key="id",
    event_time=MomentRule("promised_at"),
    available_time=MomentRule("promised_at"),
)
