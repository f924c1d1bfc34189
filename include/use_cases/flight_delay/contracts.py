"""What the facts of flights and weather must look like, and when each becomes known.

Times are UTC. A flight's ``id`` is the same in every source, so that its facts can be joined; it does not know how
a contract is enforced (``include.contracts``) nor where the facts come from (``feeder``).
"""

from include.contracts.contract import Contract, Field, MomentRule

ORIGINS = ("EWR", "JFK", "LGA")
NOON_OF_THE_DAY_BEFORE = -720

ID = Field("id", "string", "carrier-flight-origin-scheduled departure, e.g. UA-1545-EWR-20130129T1015Z")
CARRIER = Field("carrier", "string", "Airline, two-character code", max_length=2)
FLIGHT = Field("flight", "integer", "Flight number", minimum=1, maximum=9999)
ORIGIN = Field("origin", "string", "Airport of departure", allowed=ORIGINS)
DEST = Field("dest", "string", "Airport of destination, FAA code", max_length=3)
TAILNUM = Field("tailnum", "string", "Aircraft, if one is assigned", nullable=True, max_length=8)
DISTANCE = Field("distance", "integer", "Distance between the airports, miles", minimum=1, maximum=12000)
SCHEDULED_DEPARTURE = Field("scheduled_departure", "timestamp", "Scheduled departure from the gate, UTC")
SCHEDULED_ARRIVAL = Field("scheduled_arrival", "timestamp", "Scheduled arrival at the gate, UTC")
FLIGHT_IDENTITY = (ID, CARRIER, FLIGHT, ORIGIN, DEST, TAILNUM)

SCHEDULE = Contract(
    name="schedule",
    version=1,
    comment="Flights in the timetable, published at noon UTC of the day before",
    fields=(*FLIGHT_IDENTITY, DISTANCE, SCHEDULED_DEPARTURE, SCHEDULED_ARRIVAL),
    key="id",
    event_time=MomentRule("scheduled_departure"),
    available_time=MomentRule("scheduled_departure", plus_minutes=NOON_OF_THE_DAY_BEFORE, day_start=True),
    announced_days=1,
)

DEPARTURES = Contract(
    name="departures",
    version=1,
    comment="Flights that left the gate",
    fields=(
        *FLIGHT_IDENTITY,
        SCHEDULED_DEPARTURE,
        Field("actual_departure", "timestamp", "Departure from the gate, UTC"),
        Field("departure_delay", "integer", "Minutes after schedule, negative if early", minimum=-120, maximum=2000),
    ),
    key="id",
    event_time=MomentRule("actual_departure"),
    available_time=MomentRule("actual_departure"),
)

ARRIVALS = Contract(
    name="arrivals",
    version=1,
    comment="Flights that reached their destination; diverted ones never do",
    fields=(
        *FLIGHT_IDENTITY,
        SCHEDULED_ARRIVAL,
        Field("actual_arrival", "timestamp", "Arrival at the gate, UTC"),
        Field("arrival_delay", "integer", "Minutes after schedule, negative if early", minimum=-180, maximum=2000),
    ),
    key="id",
    event_time=MomentRule("actual_arrival"),
    available_time=MomentRule("actual_arrival"),
)

CANCELLATIONS = Contract(
    name="cancellations",
    version=1,
    comment="Cancelled flights; the data has no time of cancellation, so known at scheduled departure",
    fields=(*FLIGHT_IDENTITY, SCHEDULED_DEPARTURE),
    key="id",
    event_time=MomentRule("scheduled_departure"),
    available_time=MomentRule("scheduled_departure"),
)


def _observation(name: str, comment: str, minimum: float, maximum: float) -> Field:
    """Return a nullable measurement: instruments fail."""
    return Field(name, "double", comment, nullable=True, minimum=minimum, maximum=maximum)


WEATHER = Contract(
    name="weather",
    version=1,
    comment="One hour's observation at an origin airport, known at the end of the hour",
    fields=(
        Field("id", "string", "airport-hour, e.g. EWR-20130101T0600Z"),
        ORIGIN,
        Field("observed_at", "timestamp", "Start of the hour, UTC"),
        _observation("temperature_f", "Temperature, degrees Fahrenheit", -60, 130),
        _observation("dew_point_f", "Dew point, degrees Fahrenheit", -80, 100),
        _observation("humidity", "Relative humidity, percent", 0, 100),
        _observation("wind_direction", "Wind direction, degrees", 0, 360),
        _observation("wind_speed_mph", "Wind speed, miles per hour", 0, 250),
        _observation("wind_gust_mph", "Wind gust, miles per hour", 0, 250),
        _observation("precipitation_in", "Precipitation in the hour, inches", 0, 20),
        _observation("pressure_mb", "Sea-level pressure, millibars", 850, 1100),
        _observation("visibility_mi", "Visibility, miles", 0, 100),
    ),
    key="id",
    event_time=MomentRule("observed_at"),
    available_time=MomentRule("observed_at", plus_minutes=60),
)

SOURCES = (SCHEDULE, DEPARTURES, ARRIVALS, CANCELLATIONS, WEATHER)

SUBJECT = Contract(
    name="subject",
    version=1,
    comment="A scheduled flight to predict for",
    fields=(
        *FLIGHT_IDENTITY,
        DISTANCE,
        SCHEDULED_DEPARTURE,
        Field(
            "prediction_time", "timestamp", "Use only what was known then, UTC; default: one hour before", nullable=True
        ),
    ),
    key="id",
    event_time=MomentRule("scheduled_departure"),
    available_time=MomentRule("scheduled_departure"),
)
