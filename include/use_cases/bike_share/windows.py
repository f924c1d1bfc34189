"""The tiles of hires and weather, and the windows over them that features read. Declarations only.

The count of an hour lies in the minute that the hour ends in, and a fact in the minute of the prediction time does not
count. So an hour before ``h`` the newest count that a window has is that of the hour from ``h - 3`` to ``h - 2``. All
windows below follow from ``LEAD_MINUTES``: with 59 they would have one hour more.
"""

from include.tiles.spec import Measure, Tile, Window

HOUR = 60
DAY = 24 * HOUR
WEEK = 7 * DAY
#: How long before its start an hour is asked about by default.
LEAD_MINUTES = 60
#: Whole hours that lie between the prediction time and the subject's start.
LEAD_HOURS = LEAD_MINUTES // HOUR

#: From the prediction time back to the end of the hour that lay a day (a week) before the subject.
SINCE_YESTERDAY = DAY - (LEAD_HOURS + 1) * HOUR
SINCE_LAST_WEEK = WEEK - (LEAD_HOURS + 1) * HOUR

COUNTS = (
    Measure("count", "count"),
    Measure("total", "sum", "total"),
    Measure("casual", "sum", "casual"),
)
#: Doubles become integers: ten-thousandths, as precise as the data is.
SHARE_SCALE = 10_000
SHARES = ("temperature", "feels_like", "humidity", "wind_speed")

HIRES_BY_CITY = Tile("hires_by_city", "hires", ("city",), COUNTS)
HIRES_BY_HOUR = Tile("hires_by_hour", "hires", ("city", "hour_of_day"), COUNTS[:2])
HIRES_BY_KIND = Tile("hires_by_kind", "hires", ("city", "working_day", "hour_of_day"), COUNTS[:2])
WEATHER_BY_CITY = Tile(
    "weather_by_city",
    "weather",
    ("city",),
    (Measure("condition", "last", "condition"), *(Measure(name, "last", name, SHARE_SCALE) for name in SHARES)),
)

TILES = (HIRES_BY_CITY, HIRES_BY_HOUR, HIRES_BY_KIND, WEATHER_BY_CITY)


def _hires(name: str, minutes: int) -> Window:
    return Window(name, HIRES_BY_CITY, ("city",), minutes)


WINDOWS = (
    _hires("hires_1h", HOUR),
    _hires("hires_2h", 2 * HOUR),
    _hires("hires_3h", 3 * HOUR),
    _hires("hires_6h", 6 * HOUR),
    _hires("hires_24h", DAY),
    _hires("hires_25h", DAY + HOUR),
    _hires("hires_7d", WEEK),
    # What the longer of a pair has more than the shorter is one hour: the subject's, a day or a week before.
    _hires("after_yesterday", SINCE_YESTERDAY - HOUR),
    _hires("from_yesterday", SINCE_YESTERDAY),
    _hires("after_last_week", SINCE_LAST_WEEK - HOUR),
    _hires("from_last_week", SINCE_LAST_WEEK),
    Window("hour_7d", HIRES_BY_HOUR, ("city", "hour_of_day"), WEEK),
    Window("kind_7d", HIRES_BY_KIND, ("city", "working_day", "hour_of_day"), WEEK),
    Window("weather_now", WEATHER_BY_CITY, ("city",), 4 * HOUR),
)
