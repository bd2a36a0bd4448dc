"""A report as a page, and as what a notebook shows: the same core, with pictures and surroundings or without."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from rnncheck.checks.blocks import place_text
from rnncheck.checks.verdicts import FAILED, Row
from rnncheck.errors import escaped
from rnncheck.report.answer import Answer, answers, apart
from rnncheck.report.curves import curves_of
from rnncheck.report.entry import (
    MOST_PICTURED,
    Difference,
    Entry,
    named,
    shape_text,
    verdict_text,
    worst_of,
)
from rnncheck.report.tables import (
    STEP_COLUMNS,
    conclusion_of,
    number_text,
    score_text,
    step_lines,
    step_title,
    to_text,
)

if TYPE_CHECKING:
    from jinja2 import Template

# What the columns of the table of rows mean.
COLUMNS = {
    "verdict": "match: rounding explains every number. mismatch: it does not. undecidable: nobody can tell. error: "
    "something could not be compared.",
    "layer": "The layer, and which of its numbers: h is its state after every step.",
    "check": "step: each step is computed from the state that the program itself had before it. end_to_end: the "
    "final outputs, beside those of the equations' own run.",
    "at": "The first number that is wrong; if none is, the one with the largest score. n is the sample, t the step.",
    "expected": "What the equations give there.",
    "got": "What the program computed there.",
    "difference": "The largest difference between expected and got.",
    "allowed": "The largest difference that rounding explains there.",
    "typical rounding": "The difference that rounding typically makes there.",
    "score": "The largest difference of a number in units of its own typical rounding, and the limit.",
    "bound use": "The largest difference as a share of the most that rounding can ever do. Above 1, a mismatch is "
    "proven.",
    "shape": "How many numbers were compared along each axis.",
}

# What each picture shows.
CAPTIONS = {
    "errors": "The error at each step: of the whole run up to it, of the step alone, and the limit of the latter.",
    "scores": "The largest score at each step.",
    "numbers": "Numbers got, above those expected. Right ones lie on the line.",
    "states": "One unit over time by the equations' own run and as got, and the difference below.",
    "gates": "What each activation gave at the first wrong step, by unit. The wrong unit is framed.",
}


class _Picture(NamedTuple):
    name: str
    svg: str
    caption: str


@dataclass(frozen=True)
class _Section:
    """What a page says of an entry."""

    id: str  # empty where nothing leads to it
    name: str
    answer: Answer
    rows: list[tuple[str, ...]]  # the cells of `COLUMNS`
    pictures: list[_Picture]
    step: tuple[str, list[tuple[str, str, str]]] | None  # what its lines lead to, and they
    notes: list[str]
    blind_spots: list[str]
    again: str  # the command

    @property
    def failed(self) -> bool:
        return self.answer.verdict in FAILED


def to_page(
    entries: Sequence[Entry],
    differences: Sequence[Difference] = (),
    *,
    environment: Mapping[str, str],
    interrupted: bool = False,
    command: str = "",
) -> str:
    """Return a page that needs no other file, with pictures; `command` is what repeats the report."""
    pictured = {id(entry) for entry in _worth_a_look(entries)}
    sections = [
        _section(entry, f"case-{number}", with_pictures=id(entry) in pictured)
        for number, entry in enumerate(entries, 1)
    ]
    values = _values(entries, differences, interrupted=interrupted)
    return template("page.html").render(
        **values, sections=sections, index=True, command=command, environment=environment
    )


def to_cell(entries: Sequence[Entry], differences: Sequence[Difference] = (), *, interrupted: bool = False) -> str:
    """Return what a notebook shows: the core of the page, or the text where Jinja2 is not installed."""
    if find_spec("jinja2") is None:
        return f"<pre>{html.escape(to_text(entries, differences, interrupted=interrupted))}</pre>"
    sections = [_section(entry) for entry in _worth_a_look(entries)]
    values = _values(entries, differences, interrupted=interrupted)
    return template("cell.html").render(**values, sections=sections, index=False)


def _worth_a_look(entries: Sequence[Entry]) -> Sequence[Entry]:
    # All if they are few, else those that failed.
    few = len(entries) <= MOST_PICTURED
    return [entry for entry in entries if few or entry.verdict in FAILED][:MOST_PICTURED]


def template(name: str) -> Template:
    """Return a template of this package."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("rnncheck", "report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.globals |= {"escaped": escaped, "columns": COLUMNS, "step_columns": STEP_COLUMNS}
    return environment.get_template(name)


def _values(entries: Sequence[Entry], differences: Sequence[Difference], *, interrupted: bool) -> dict[str, Any]:
    # What the core of both templates shows besides its sections.
    return {
        "verdict": worst_of(entries),
        "answers": answers(entries, interrupted=interrupted),
        "conclusion": conclusion_of(entries, interrupted=interrupted).plain,
        "alone": len(entries) == 1,
        "differences": [
            (f"{each.case} {each.path}", " and ".join(each.backends), number_text(each.max_abs_diff))
            for each in differences
        ],
    }


def _section(entry: Entry, key: str = "", *, with_pictures: bool = False) -> _Section:
    notes = list(entry.further_notes)
    if entry.precision and entry.precision.consistent_with:
        notes.append(f"precision: {entry.precision}")
    return _Section(
        id=key,
        name=named(entry),
        answer=answers([entry])[0],
        rows=[_cells(row) for row in entry.rows],
        pictures=_pictures(entry, key) if with_pictures else [],
        step=None if entry.step is None else (step_title(entry.step), list(step_lines(entry.step))),
        notes=notes,
        blind_spots=[f"{spot.fault} in {spot.layer!r}: {spot.reason}. {spot.remedy}" for spot in entry.blind_spots],
        again=entry.again,
    )


def _cells(row: Row) -> tuple[str, ...]:
    number = row.first_number or row.worst_number
    return (
        verdict_text(row),
        f"{row.layer} {row.output}",
        row.check,
        place_text(number.place) if number else row.detail,
        *(apart(number.expected, number.actual) if number else ("-", "-")),
        number_text(row.max_abs_diff),
        number_text(number.allowed if number else None),
        number_text(row.noise),
        score_text(row.score_max),
        number_text(row.bound_use),
        shape_text(row.shape) or "-",
    )


def _pictures(entry: Entry, key: str) -> list[_Picture]:
    from rnncheck.report.plot import drawn, picture_names

    curves = curves_of(entry)
    if curves is None:
        return []
    return [_Picture(name, drawn(curves, name, key), CAPTIONS[name]) for name in picture_names(curves)]
