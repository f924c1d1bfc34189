"""The tiles of the facts, and the windows over them that features read. Declarations only."""

from include.tiles.spec import Measure, Tile, Window

HOUR = 60
DAY = 1440
LATE_MINUTES = 15
DELAY_BOUNDS = (-60, 600)
#: A double becomes an integer: hundredths.
LEVEL_SCALE = 100

COUNT = (Measure("count", "count"),)
DELAYS = (
    *COUNT,
    Measure("delay_sum", "sum", "delay_minutes", clip=DELAY_BOUNDS),
    Measure("late_count", "sum", "delay_minutes", above=LATE_MINUTES),
)

ORDERS_BY_DEPOT = Tile("orders_by_depot", "orders", ("depot",), COUNT)
DELIVERIES_BY_DEPOT = Tile("deliveries_by_depot", "deliveries", ("depot",), DELAYS)
DELIVERIES_BY_COURIER = Tile("deliveries_by_courier", "deliveries", ("courier",), DELAYS)
TRAFFIC_BY_DEPOT = Tile("traffic_by_depot", "traffic", ("depot",), (Measure("level", "last", "level", LEVEL_SCALE),))

TILES = (ORDERS_BY_DEPOT, DELIVERIES_BY_DEPOT, DELIVERIES_BY_COURIER, TRAFFIC_BY_DEPOT)

WINDOWS = (
    Window("depot_due_3h", ORDERS_BY_DEPOT, ("depot",), 3 * HOUR),
    Window("depot_delivered_1h", DELIVERIES_BY_DEPOT, ("depot",), HOUR),
    Window("depot_delivered_3h", DELIVERIES_BY_DEPOT, ("depot",), 3 * HOUR),
    Window("depot_delivered_24h", DELIVERIES_BY_DEPOT, ("depot",), DAY),
    Window("courier_delivered_24h", DELIVERIES_BY_COURIER, ("courier",), DAY),
    Window("traffic_now", TRAFFIC_BY_DEPOT, ("depot",), 4 * HOUR),
)
