"""What the facts of hours, hires and weather must look like, and when each becomes known.

Times are UTC. An hour's ``id`` is the same in every source, so that its facts can be joined. It does not know how a
contract is enforced (``include.contracts``) nor where the facts come from (``feeder``).
"""

from include.contracts.contract import Contract, Field, MomentRule

CITIES = ("Washington",)
NOON_OF_THE_DAY_BEFORE = -720
#: Words of the data -> ``condition``.
CONDITIONS = {"clear": 1, "cloudy/misty": 2, "light rain/snow": 3, "heavy rain/snow": 4}

ID = Field("id", "string", "Hour: the time that it starts, UTC, e.g. 20110313T0700Z", max_length=14)
CITY = Field("city", "string", "City whose shared bikes are counted", allowed=CITIES)
STARTS_AT = Field("starts_at", "timestamp", "Start of the hour, UTC")
HOUR_OF_DAY = Field("hour_of_day", "integer", "What the city's clocks show then, hour", minimum=0, maximum=23)
HOLIDAY = Field("holiday", "integer", "1 on a public holiday of the city", minimum=0, maximum=1)
WORKING_DAY = Field("working_day", "integer", "1 if neither a weekend nor a holiday", minimum=0, maximum=1)
IDENTITY = (ID, CITY, STARTS_AT, HOUR_OF_DAY)

HOURS = Contract(
    name="hours",
    version=1,
    comment="The calendar: hours that will be asked about, published at noon UTC of the day before",
    fields=(*IDENTITY, HOLIDAY, WORKING_DAY),
    key="id",
    event_time=MomentRule("starts_at"),
    available_time=MomentRule("starts_at", plus_minutes=NOON_OF_THE_DAY_BEFORE, day_start=True),
    announced_days=1,
)


def _hires(name: str, comment: str) -> Field:
    return Field(name, "integer", comment, minimum=0, maximum=100_000)


HIRES = Contract(
    name="hires",
    version=1,
    comment="How many bikes were hired; known at the end of what was counted, an hour but for one case a year",
    fields=(
        *IDENTITY,
        WORKING_DAY,
        Field("ends_at", "timestamp", "End of what was counted, UTC"),
        _hires("casual", "Bikes hired by people without a subscription"),
        _hires("registered", "Bikes hired by subscribers"),
        _hires("total", "Bikes hired"),
    ),
    key="id",
    event_time=MomentRule("starts_at"),
    available_time=MomentRule("ends_at"),
)


def _share(name: str, comment: str) -> Field:
    """Return a nullable measurement on the data's own scale: instruments fail."""
    return Field(name, "double", comment, nullable=True, minimum=0, maximum=1)


WEATHER = Contract(
    name="weather",
    version=1,
    comment="One hour's weather in the city, known at the end of the hour",
    fields=(
        *IDENTITY,
        Field(
            "condition",
            "integer",
            "1 clear, 2 cloudy or misty, 3 light rain or snow, 4 heavy rain or snow",
            nullable=True,
            minimum=1,
            maximum=4,
        ),
        _share("temperature", "Temperature, from 0 (the coldest that the data's scale has) to 1 (the warmest)"),
        _share("feels_like", "Temperature as felt, on a scale of its own from 0 to 1"),
        _share("humidity", "Relative humidity, 1 is 100 percent"),
        _share("wind_speed", "Wind speed, on the data's scale from 0 to 1"),
    ),
    key="id",
    event_time=MomentRule("starts_at"),
    available_time=MomentRule("starts_at", plus_minutes=60),
)

SOURCES = (HOURS, HIRES, WEATHER)

SUBJECT = Contract(
    name="subject",
    version=1,
    comment="An hour to predict for",
    fields=(
        *IDENTITY,
        HOLIDAY,
        WORKING_DAY,
        Field(
            "prediction_time", "timestamp", "Use only what was known then, UTC; default: one hour before", nullable=True
        ),
    ),
    key="id",
    event_time=MomentRule("starts_at"),
    available_time=MomentRule("starts_at"),
)
