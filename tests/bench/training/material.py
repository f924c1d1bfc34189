"""The year of flights as what is trained on: spans of days, encoded once, for our network and for its rivals.

It knows days and encoders: neither networks nor clocks.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from include.bundle.bundle import Predictor
from include.training.dataset import Dataset, Rows, Split, Tables, closed_days, load_dataset, pin_versions
from include.training.encoding import Encoders
from include.training.material import Material, Start
from include.training.scratch import Scratch
from include.use_case import UseCase, load_use_case
from tests.bench.training.flights import FIRST, LAST, year_tables

#: Train January to September, of which the last two months validate; test October to December. One month would choose
#: what suits that month.
IN_MEMORY = Scratch(Path("/nowhere"), 1 << 40)
VALIDATE_FROM, TEST_FROM = "2013-08-01", "2013-10-01"


@dataclass(frozen=True)
class Year:
    """The tables of 2013 at pinned versions."""

    use_case: UseCase
    tables: Tables
    versions: dict[str, int]
    days: tuple[str, ...]

    @classmethod
    def open(cls, folder: Path) -> "Year":
        """Make the tables under ``folder`` if they are not there, and pin them."""
        tables = year_tables(folder)
        versions = pin_versions(tables)
        return cls(load_use_case("flight_delay"), tables, versions, tuple(closed_days(tables, versions, FIRST, LAST)))

    def dataset(self, validate_from: str, test_from: str, first: str = "", end: str = "9") -> Dataset:
        """The days from ``first`` up to ``end`` (excluded), split at two of them."""
        days = [day for day in self.days if first <= day < end]
        split = Split(
            tuple(day for day in days if day < validate_from),
            tuple(day for day in days if validate_from <= day < test_from),
            tuple(day for day in days if day >= test_from),
        )
        return load_dataset(self.tables, self.versions, self.use_case.features, self.use_case.target, split, IN_MEMORY)

    def window(self, last: date, days: int, validation_days: int, test_days: int) -> Dataset:
        """A nightly run's window of ``days`` that ends with ``last``, both spans at its end as long as said."""
        test_from = last - timedelta(days=test_days - 1)
        validate_from = test_from - timedelta(days=validation_days)
        first, end = last - timedelta(days=days - 1), last + timedelta(days=1)
        return self.dataset(*(day.isoformat() for day in (validate_from, test_from, first, end)))

    def material(self, dataset: Dataset, start: Predictor | None = None) -> Material:
        """What a search needs of a dataset; ``start`` is a network to go on from."""
        encoders = start.encoders if start else Encoders.fit(self.use_case.features, dataset.train.columns)
        origin = Start(start.network.config, start.network.state_dict()) if start else None
        return Material.of(encoders, dataset.train, dataset.validation, IN_MEMORY, origin)


def write_for_rivals(dataset: Dataset, encoders: Encoders, folder: Path) -> None:
    """The three spans as the files that ``pytabkit_rival.py`` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", dataset.train), ("validation", dataset.validation), ("test", dataset.test)):
        save_span(folder / f"{name}.npz", rows, encoders)


def save_span(path: Path, rows: Rows, encoders: Encoders) -> None:
    """One span's matrices and labels."""
    encoded = encoders.encode(rows.columns)
    np.savez(path, numeric=encoded.numeric, category=encoded.category, labels=rows.labels)
