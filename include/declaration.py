"""What is wrong with a use case's declaration: names that match nothing, types that cannot meet, spans that contradict.

Asked once, when a ``UseCase`` is made: what is wrong here would otherwise show as a table that stays empty, a window
that is always 0 or a label that is always missing. It knows no domain, and looks at no fact.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from include.contracts.contract import Contract, FieldType, MomentRule
from include.locations import OWN_TOPICS, REFERENCES
from include.tiles.spec import Window

if TYPE_CHECKING:
    from include.use_case import UseCase

#: The subject's field that says what may be known; every use case has it, and no source.
PREDICTION_TIME = "prediction_time"
#: A source of this name would stand in the place of the labels where analysts' statistics are made.
LABELS = "labels"
#: What makes a key: a time or a fraction is not the same text everywhere.
KEY_TYPES: tuple[FieldType, ...] = ("string", "integer")


def faults(use_case: "UseCase") -> Iterator[str]:
    """Everything that is wrong, each in a sentence without its end."""
    yield from _sources(use_case)
    yield from _names(use_case)
    if use_case.subject_source in _source_names(use_case):
        yield from _subject(use_case)
    yield from _tiles(use_case)
    for window in use_case.features.windows:
        yield from _window(use_case, window)
    for reference in use_case.features.references:
        yield from _fields(use_case.subject, [reference.key], ("string",), f"reference {reference.name!r} is joined by")
    yield from _spans(use_case)


def _source_names(use_case: "UseCase") -> list[str]:
    return [source.name for source in use_case.sources]


def _sources(use_case: "UseCase") -> Iterator[str]:
    names = _source_names(use_case)
    if taken := sorted({*OWN_TOPICS, REFERENCES, LABELS}.intersection(names)):
        yield (
            f"sources are called {', '.join(taken)}, as topics, folders or tables of every use case are: give them "
            "other names"
        )
    if several := sorted({name for name in names if names.count(name) > 1}):
        yield f"sources are there twice: {', '.join(several)}"
    if having := [source.name for source in use_case.sources if PREDICTION_TIME in source.field_names]:
        yield f"sources {having} have a field {PREDICTION_TIME}: the subject alone has it"


def _names(use_case: "UseCase") -> Iterator[str]:
    """Names of sources and features, wherever any are given."""
    of_sources = {
        "subject_source": [use_case.subject_source],
        "silence_minutes": use_case.silence_minutes,
        "quality.accuracy": use_case.quality.accuracy,
        "quality.about_subjects": use_case.quality.about_subjects,
        "quality.empty_says": use_case.quality.empty_says,
        "tiles": [tile.source for tile in use_case.tiles],
    }
    sources = _source_names(use_case)
    for where, names in of_sources.items():
        if unknown := sorted(set(names).difference(sources)):
            yield f"{where} names sources {unknown}, which do not exist; there are {sources}"
    features = [feature.name for feature in use_case.features.features]
    if unknown := sorted(set(use_case.slices).difference(features)):
        yield f"slices by {unknown}, which are no features"
    for source in use_case.sources:
        nullable = [field.name for field in source.fields if field.nullable]
        if unknown := sorted(set(use_case.quality.empty_says.get(source.name, ())).difference(nullable)):
            yield f"quality.empty_says of {source.name!r} names {unknown}; what may be empty is {nullable}"


def _subject(use_case: "UseCase") -> Iterator[str]:
    subject, source = use_case.subject, use_case.source(use_case.subject_source)
    yield from _fields(subject, [subject.key], ("string",), "a subject's id is")
    yield from _fields(source, [source.key], ("string",), "a subject's id is")
    yield from _fields(subject, [use_case.subject_time, PREDICTION_TIME], ("timestamp",), "its times are")
    others = [name for name in subject.field_names if name not in (subject.key, PREDICTION_TIME)]
    for name in others:
        yield from _fields(source, [name], (subject.field(name).type,), "batch must know what a client may say:")
    if subject.event_time != subject.available_time:
        yield "the subject's event_time and available_time differ: a question is about one moment"
    if source.event_time != MomentRule(use_case.subject_time):
        yield (
            f"the event_time of {source.name!r} is not {use_case.subject_time!r}, the subject_time: what is asked "
            "about happens then"
        )


def _tiles(use_case: "UseCase") -> Iterator[str]:
    for tile in use_case.tiles:
        if tile.source in _source_names(use_case):
            source = use_case.source(tile.source)
            yield from _fields(source, tile.key, KEY_TYPES, f"tile {tile.name!r} is by")
            measured = [measure.field for measure in tile.measures if measure.field is not None]
            yield from _fields(source, measured, ("integer", "double"), f"tile {tile.name!r} measures")


def _window(use_case: "UseCase", window: Window) -> Iterator[str]:
    what = f"window {window.name!r}"
    if window.tile not in use_case.tiles:
        yield f"{what} is over tile {window.tile.name!r}, which is not among the use case's tiles"
    own, tiles = len(window.key), len(window.tile.key)
    if own != tiles:
        yield f"{what} has a key of {own} fields, its tile {window.tile.name!r} one of {tiles}"
    yield from _fields(use_case.subject, window.key, KEY_TYPES, f"{what} is looked up by")


def _fields(contract: Contract, names: Iterable[str], types: tuple[FieldType, ...], what: str) -> Iterator[str]:
    """What is wrong with fields that must be there and of one of some types."""
    for name in names:
        if name not in contract.field_names:
            yield f"{what} {name!r}, which {contract.name!r} does not have"
        elif (found := contract.field(name).type) not in types:
            yield f"{what} {name!r}, which is of type {found} in {contract.name!r} and must be {' or '.join(types)}"


def _spans(use_case: "UseCase") -> Iterator[str]:
    lead = use_case.prediction_lead_minutes
    if not 0 <= use_case.minimum_lead_minutes <= lead:
        yield (
            f"minimum_lead_minutes is {use_case.minimum_lead_minutes}: choose one from 0 to prediction_lead_minutes, "
            f"{lead}"
        )
    horizon = use_case.label_horizon_days
    if horizon < use_case.lead_days:
        yield (
            f"label_horizon_days is {horizon}, and a subject of the day's last minute happens {lead} minutes later: "
            f"its label would close before; choose {use_case.lead_days} or more"
        )
