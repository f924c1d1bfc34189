"""The pages that every use case has, and where what its domain shows of its own goes. Knows no domain.

A domain's part is ``OWN`` of the module ``dashboard.use_cases.<use case>``, where there is one; without it the pages
show what every use case has: answers and their quality, models, books and the scorecard, statistics of its slices.
The first use case of a deployment has the plain names and addresses; those of every other one end with its name.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec

from dashboard import data_quality, model_history, operations, statistics
from dashboard.figures import level
from dashboard.specs import Block, Chart, Dashboard, Dataset, Filter, Pages, Row, Tab
from include.target import Target
from include.use_case import UseCase, load_use_case
from include.use_cases import SEPARATOR, read_use_cases

GOOD, BAD, CALM, PALE, DARK = "#5AC189", "#FF7F44", "#1FA8C9", "#A1A6BD", "#454E7C"
COLORS: Mapping[str, str] = {
    **{"Ingested": GOOD, "Quarantined": "#E04355", "Duplicate": "#FCC700"},
    **{"network": CALM, "LightGBM": GOOD, "base rate": PALE, "champion before": DARK},
    **{"predicted": CALM, "observed": BAD, "complete": GOOD, "degraded": BAD},
    **{"lower end": PALE, "share": BAD, "mean": BAD, "upper end": PALE},
}
#: Charts of a use case's slices side by side.
SIDE_BY_SIDE = 2


@dataclass(frozen=True)
class Own:
    """What a domain shows of its own.

    ``now`` and ``archive`` are tabs in front of those that every use case has, with what is to be said of them and the
    filters above; ``beyond_chance`` are rows in the place of one chart for each of the use case's slices.
    """

    now: tuple[Tab, ...] = ()
    about_now: str = "Answers by day"
    now_filters: tuple[Filter, ...] = ()
    archive: tuple[Tab, ...] = ()
    about_archive: str = "Every day with known outcomes"
    archive_filters: tuple[Filter, ...] = ()
    beyond_chance: tuple[Row, ...] = ()
    colors: Mapping[str, str] = field(default_factory=dict)


def deployed_pages(environment: Mapping[str, str]) -> list[Pages]:
    """The pages of every use case of the deployment; the first one's tables lie in ``MYSQL_DATABASE``.

    Raises ``ValueError`` naming a use case that is not there.
    """
    first, *others = read_use_cases(environment)
    plain = Pages(environment.get("MYSQL_DATABASE") or first, dashboards(load_use_case(first)))
    return [plain, *(beside(Pages(name, dashboards(load_use_case(name)))) for name in others)]


def dashboards(use_case: UseCase) -> tuple[Dashboard, ...]:
    """A use case's four pages."""
    own, target = own_part(use_case.name), use_case.target
    sources = [source.name for source in use_case.sources]
    return (
        _operations(own, target),
        Dashboard(
            "Model history",
            "model-history",
            "Quality by version and night, promotions and rollbacks, the search.",
            (Tab("Quality", model_history.quality_rows(target)), Tab("Search", model_history.search_rows(target))),
            colors=COLORS,
        ),
        Dashboard(
            "Data quality",
            "data-quality",
            "What landed and what became of it, the scorecard with its thresholds, parity of the layers, books.",
            (Tab("Data quality", data_quality.rows(sources)),),
            colors=COLORS,
        ),
        _archive(own, target, use_case.slices),
    )


def own_part(name: str) -> Own:
    """What the use case's domain adds."""
    module = f"dashboard.use_cases.{name}"
    found: Own = importlib.import_module(module).OWN if find_spec(module) else Own()
    return found


def _operations(own: Own, target: Target) -> Dashboard:
    # How far both layers have come stands once on the page: in front.
    moments = () if own.now else ((operations.COMPLETE_THROUGH, operations.CLOSED_THROUGH),)
    return Dashboard(
        "Operations now",
        "operations-now",
        f"{own.about_now}, live quality of the predictions, speed, freshness, alerts. From MySQL: "
        "closed days as the batch layer counted them, joined with the open day of the speed layer.",
        (*own.now, operations.predictions(target, *moments), operations.FRESHNESS, operations.ALERTS),
        own.now_filters,
        colors={**COLORS, **own.colors},
        refresh_seconds=300,
    )


def _archive(own: Own, target: Target, slices: Sequence[str]) -> Dashboard:
    rows = own.beyond_chance or tuple(_of_slices(target, slices))
    return Dashboard(
        "Archive",
        "archive",
        f"{own.about_archive}, and whether differences are more than chance. From Hive, answered by Spark.",
        (*own.archive, statistics.beyond_chance(target, rows), statistics.drift(target)),
        own.archive_filters,
        colors={**COLORS, **own.colors},
    )


def _of_slices(target: Target, slices: Sequence[str]) -> list[Row]:
    """A chart for each of the features whose values the use case has compared."""
    word = level(target).capitalize()
    named = [(feature, _in_words(feature)) for feature in slices]
    charts = [statistics.levels(target, f"{word} by {words}", feature, words) for feature, words in named]
    return [tuple(charts[i : i + SIDE_BY_SIDE]) for i in range(0, len(charts), SIDE_BY_SIDE)]


def beside(pages: Pages) -> Pages:
    """The pages of a use case that is not the first: names, addresses and so ids end with its own."""
    return replace(pages, dashboards=tuple(_marked_page(page, pages.schema) for page in pages.dashboards))


def _marked_page(page: Dashboard, name: str) -> Dashboard:
    return replace(
        page,
        title=_marked(page.title, name),
        slug=f"{page.slug}{SEPARATOR}{name}",
        tabs=tuple(_marked_tab(tab, name) for tab in page.tabs),
        filters=tuple(replace(one, dataset=_marked_data(one.dataset, name)) for one in page.filters),
    )


def _marked_tab(tab: Tab, name: str) -> Tab:
    return replace(tab, rows=tuple(tuple(_marked_block(block, name) for block in row) for row in tab.rows))


def _marked_block(block: Block, name: str) -> Block:
    if not isinstance(block, Chart):
        return block
    data = _marked_data(block.dataset, name)
    return replace(block, name=_marked(block.name, name), title=block.name, dataset=data)


def _marked_data(dataset: Dataset, name: str) -> Dataset:
    return replace(dataset, name=_marked(dataset.name, name))


def _marked(words: str, name: str) -> str:
    return f"{words} ({_in_words(name)})"


def _in_words(name: str) -> str:
    return name.replace("_", " ")
