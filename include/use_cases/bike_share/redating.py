"""Which day of 2011 a day of another year has: moved by whole weeks, so that weekdays stay what they are.

A year is a *cycle* of 52 weeks: cycles follow each other without a gap, for ever; 31 December 2011 is left out. Days
are those of the city's clocks, so local hours stay what they are; an hour that clocks leave out in the new year is
lost, and one that they show twice there counts as two. It does not know what happened on a day.
"""

from datetime import date, timedelta

CYCLE_DAYS = 7 * 52
FIRST_SOURCE_DAY = date(2011, 1, 1)
#: A Saturday, like the first of 2011, in its season: cycles are counted from here, both ways.
FIRST_CYCLE = date(2026, 1, 3)


def source_day(day: date) -> date:
    """The day of 2011 (1 January to 30 December) that a re-dated day has: same weekday."""
    return FIRST_SOURCE_DAY + timedelta(days=(day - FIRST_CYCLE).days % CYCLE_DAYS)
