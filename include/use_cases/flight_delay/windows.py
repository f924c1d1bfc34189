"""The tiles of flights and weather, and the windows over them that features read.

Declarations only. Fast windows say how the airport, the carrier and the aircraft are doing now; slow ones (a week)
say what is usual for a flight number and a route.
"""

from include.tiles.spec import Measure, Tile, Window

HOUR = 60
DAY = 1440
WEEK = 7 * DAY
LATE_MINUTES = 15
DELAY_BOUNDS = (-60, 600)

COUNT = (Measure("count", "count"),)


def _delays(field: str) -> tuple[Measure, ...]:
    """Count of facts, sum of bounded delays, and how many were late."""
    return (
        *COUNT,
        Measure("delay_sum", "sum", field, clip=DELAY_BOUNDS),
        Measure("late_count", "sum", field, above=LATE_MINUTES),
    )


DEPARTURE_DELAYS = _delays("departure_delay")
ARRIVAL_DELAYS = _delays("arrival_delay")

SCHEDULE_BY_ORIGIN = Tile("schedule_by_origin", "schedule", ("origin",), COUNT)
SCHEDULE_BY_ORIGIN_CARRIER = Tile("schedule_by_origin_carrier", "schedule", ("origin", "carrier"), COUNT)
DEPARTURES_BY_ORIGIN = Tile(
    "departures_by_origin",
    "departures",
    ("origin",),
    (*DEPARTURE_DELAYS, Measure("delay_max", "max", "departure_delay", clip=DELAY_BOUNDS)),
)
DEPARTURES_BY_CARRIER = Tile("departures_by_carrier", "departures", ("carrier",), DEPARTURE_DELAYS)
DEPARTURES_BY_ORIGIN_CARRIER = Tile(
    "departures_by_origin_carrier", "departures", ("origin", "carrier"), DEPARTURE_DELAYS
)
DEPARTURES_BY_DEST = Tile("departures_by_dest", "departures", ("dest",), DEPARTURE_DELAYS)
DEPARTURES_BY_TAILNUM = Tile(
    "departures_by_tailnum", "departures", ("tailnum",), (*COUNT, Measure("delay", "last", "departure_delay"))
)
ARRIVALS_BY_ORIGIN = Tile("arrivals_by_origin", "arrivals", ("origin",), ARRIVAL_DELAYS)
ARRIVALS_BY_DEST = Tile("arrivals_by_dest", "arrivals", ("dest",), ARRIVAL_DELAYS)
ARRIVALS_BY_CARRIER = Tile("arrivals_by_carrier", "arrivals", ("carrier",), ARRIVAL_DELAYS)
ARRIVALS_BY_TAILNUM = Tile(
    "arrivals_by_tailnum", "arrivals", ("tailnum",), (*COUNT, Measure("delay", "last", "arrival_delay"))
)
ARRIVALS_BY_FLIGHT = Tile("arrivals_by_flight", "arrivals", ("carrier", "flight"), ARRIVAL_DELAYS)
ARRIVALS_BY_ROUTE = Tile("arrivals_by_route", "arrivals", ("origin", "dest"), ARRIVAL_DELAYS)
CANCELLATIONS_BY_ORIGIN = Tile("cancellations_by_origin", "cancellations", ("origin",), COUNT)
CANCELLATIONS_BY_ORIGIN_CARRIER = Tile("cancellations_by_origin_carrier", "cancellations", ("origin", "carrier"), COUNT)
#: Doubles become integers: tenths, hundredths or thousandths of the field's unit.
WEATHER_SCALES = {
    "temperature_f": 10,
    "dew_point_f": 10,
    "humidity": 10,
    "wind_direction": 1,
    "wind_speed_mph": 10,
    "wind_gust_mph": 10,
    "precipitation_in": 1000,
    "pressure_mb": 10,
    "visibility_mi": 100,
}
WEATHER_BY_ORIGIN = Tile(
    "weather_by_origin",
    "weather",
    ("origin",),
    tuple(Measure(name, "last", name, scale=scale) for name, scale in WEATHER_SCALES.items()),
)
RAIN_BY_ORIGIN = Tile(
    "rain_by_origin", "weather", ("origin",), (Measure("amount", "sum", "precipitation_in", scale=1000),)
)

TILES = (
    SCHEDULE_BY_ORIGIN,
    SCHEDULE_BY_ORIGIN_CARRIER,
    DEPARTURES_BY_ORIGIN,
    DEPARTURES_BY_CARRIER,
    DEPARTURES_BY_ORIGIN_CARRIER,
    DEPARTURES_BY_DEST,
    DEPARTURES_BY_TAILNUM,
    ARRIVALS_BY_ORIGIN,
    ARRIVALS_BY_DEST,
    ARRIVALS_BY_CARRIER,
    ARRIVALS_BY_TAILNUM,
    ARRIVALS_BY_FLIGHT,
    ARRIVALS_BY_ROUTE,
    CANCELLATIONS_BY_ORIGIN,
    CANCELLATIONS_BY_ORIGIN_CARRIER,
    WEATHER_BY_ORIGIN,
    RAIN_BY_ORIGIN,
)

WINDOWS = (
    Window("origin_scheduled_3h", SCHEDULE_BY_ORIGIN, ("origin",), 3 * HOUR),
    Window("origin_scheduled_24h", SCHEDULE_BY_ORIGIN, ("origin",), DAY),
    Window("origin_carrier_scheduled_3h", SCHEDULE_BY_ORIGIN_CARRIER, ("origin", "carrier"), 3 * HOUR),
    Window("origin_carrier_scheduled_24h", SCHEDULE_BY_ORIGIN_CARRIER, ("origin", "carrier"), DAY),
    Window("origin_departed_1h", DEPARTURES_BY_ORIGIN, ("origin",), HOUR),
    Window("origin_departed_3h", DEPARTURES_BY_ORIGIN, ("origin",), 3 * HOUR),
    Window("origin_departed_24h", DEPARTURES_BY_ORIGIN, ("origin",), DAY),
    Window("carrier_departed_3h", DEPARTURES_BY_CARRIER, ("carrier",), 3 * HOUR),
    Window("carrier_departed_24h", DEPARTURES_BY_CARRIER, ("carrier",), DAY),
    Window("origin_carrier_departed_1h", DEPARTURES_BY_ORIGIN_CARRIER, ("origin", "carrier"), HOUR),
    Window("origin_carrier_departed_3h", DEPARTURES_BY_ORIGIN_CARRIER, ("origin", "carrier"), 3 * HOUR),
    Window("origin_carrier_departed_24h", DEPARTURES_BY_ORIGIN_CARRIER, ("origin", "carrier"), DAY),
    Window("dest_departed_3h", DEPARTURES_BY_DEST, ("dest",), 3 * HOUR),
    Window("tailnum_departed_24h", DEPARTURES_BY_TAILNUM, ("tailnum",), DAY),
    Window("origin_arrived_3h", ARRIVALS_BY_ORIGIN, ("origin",), 3 * HOUR),
    Window("dest_arrived_3h", ARRIVALS_BY_DEST, ("dest",), 3 * HOUR),
    Window("dest_arrived_24h", ARRIVALS_BY_DEST, ("dest",), DAY),
    Window("carrier_arrived_3h", ARRIVALS_BY_CARRIER, ("carrier",), 3 * HOUR),
    Window("tailnum_arrived_24h", ARRIVALS_BY_TAILNUM, ("tailnum",), DAY),
    Window("flight_arrived_7d", ARRIVALS_BY_FLIGHT, ("carrier", "flight"), WEEK),
    Window("route_arrived_7d", ARRIVALS_BY_ROUTE, ("origin", "dest"), WEEK),
    Window("origin_cancelled_3h", CANCELLATIONS_BY_ORIGIN, ("origin",), 3 * HOUR),
    Window("origin_cancelled_24h", CANCELLATIONS_BY_ORIGIN, ("origin",), DAY),
    Window("origin_carrier_cancelled_3h", CANCELLATIONS_BY_ORIGIN_CARRIER, ("origin", "carrier"), 3 * HOUR),
    Window("origin_carrier_cancelled_24h", CANCELLATIONS_BY_ORIGIN_CARRIER, ("origin", "carrier"), DAY),
    Window("weather_now", WEATHER_BY_ORIGIN, ("origin",), 4 * HOUR),
    Window("rain_3h", RAIN_BY_ORIGIN, ("origin",), 3 * HOUR),
)
