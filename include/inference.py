"""Does a share differ beyond chance? Intervals, tests and drift from counts per day; no Spark, no tables.

- A share's own interval is Wilson's (E. B. Wilson, JASA 22, 1927).
- Two shares are compared with days as clusters: subjects of one day share what made it a good or a bad one, so that
  the usual test for two proportions would find far too much. The variance of the difference is that of its
  linearisation summed over days (R. L. Williams, Biometrics 56, 2000; W. G. Cochran, *Sampling Techniques*, chapter 6),
  compared with Student's t with one degree of freedom less than there are days.
- Many tests at once are corrected by Benjamini and Hochberg (JRSS B 57, 1995).
- Drift of a feature is the population stability index over bins of its earlier values, each count plus one half so that
  an empty bin is finite.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95
#: Fewer days than this say nothing about how much days differ.
MINIMUM_DAYS = 5
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """Share minus base share, with its 95 % interval and two-sided p-value; the latter are NaN with too few days."""

    value: float
    low: float
    high: float
    p_value: float


def wilson(positives: int, rows: int) -> tuple[float, float]:
    """The 95 % interval of a share; (NaN, NaN) of no rows, and of what is no share."""
    if rows == 0 or not 0 <= positives <= rows:
        return float("nan"), float("nan")
    z = float(stats.norm.ppf(0.5 + LEVEL / 2))
    share = positives / rows
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z * np.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)) / (1 + z * z / rows)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def difference(rows: Doubles, positives: Doubles, base_rows: Doubles, base_positives: Doubles) -> Difference:
    """Compare two shares by counts per day. All four have one entry for each day; 0 where a side has no rows."""
    total, base_total = rows.sum(), base_rows.sum()
    if not total or not base_total:
        return Difference(*[float("nan")] * 4)
    share, base = positives.sum() / total, base_positives.sum() / base_total
    found = float(share - base)
    days = int(((rows > 0) | (base_rows > 0)).sum())
    if days < MINIMUM_DAYS:
        return Difference(found, float("nan"), float("nan"), float("nan"))
    influence = (positives - share * rows) / total - (base_positives - base * base_rows) / base_total
    error = float(np.sqrt(days / (days - 1) * np.square(influence).sum()))
    half = float(stats.t.ppf(0.5 + LEVEL / 2, days - 1)) * error
    if error == 0.0:
        return Difference(found, found, found, 1.0 if found == 0.0 else 0.0)
    return Difference(found, found - half, found + half, float(2 * stats.t.sf(abs(found) / error, days - 1)))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """The q-values of p-values, in their order; a NaN stays one and is not counted."""
    values = np.asarray(p_values, dtype=np.float64)
    known = ~np.isnan(values)
    q_values = np.full(len(values), np.nan)
    if known.any():
        q_values[known] = stats.false_discovery_control(values[known], method="bh")
    return [float(q) for q in q_values]


def stability_index(counts: Doubles, base_counts: Doubles) -> float:
    """The population stability index of two histograms over the same bins; 0 for equal ones, NaN without rows."""
    if not counts.sum() or not base_counts.sum():
        return float("nan")
    now, before = (c + 0.5 for c in (counts, base_counts))
    now, before = now / now.sum(), before / before.sum()
    return float(((now - before) * np.log(now / before)).sum())
