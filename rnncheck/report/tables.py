"""How a report looks on a console and as text."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnncheck.checks.blocks import place_text
from rnncheck.checks.thresholds import SCORE_LIMIT
from rnncheck.checks.verdicts import FAILED, Check, Row, Verdict
from rnncheck.errors import escaped
from rnncheck.report.answer import Answer, answers, apart, compared, place_in_words
from rnncheck.report.console import as_text
from rnncheck.report.curves import curves_of
from rnncheck.report.entry import (
    MOST_DIAGNOSED,
    Difference,
    Entry,
    count_cases,
    failures_of,
    named,
    shape_text,
    verdict_text,
    ways_of,
    worst_of,
)
from rnncheck.report.heat_map import print_score_map

if TYPE_CHECKING:
    from rnncheck.checks.one_step import OneStep
    from rnncheck.report.outcomes import SelfTest

# Longer tables are cut here; --json and --csv have everything.
MOST_LINES = 24

_STYLES = {
    Verdict.MATCH: "green",
    Verdict.MISMATCH: "bold red",
    Verdict.UNDECIDABLE: "yellow",
    Verdict.ERROR: "bold red",
}


def to_text(entries: Sequence[Entry], differences: Sequence[Difference] = (), *, interrupted: bool = False) -> str:
    """Return a report as plain text."""
    return as_text(lambda console: print_report(entries, console, differences, interrupted=interrupted))


def print_report(
    entries: Sequence[Entry],
    console: Console,
    differences: Sequence[Difference] = (),
    *,
    interrupted: bool = False,
    everything: bool = False,
    details: bool = False,
    hint: str = "to_frame() has every row",
) -> None:
    """Print a report: the answer, then a line for each row or case, notes, and how many cases there are.

    With `everything` nothing is cut, else `hint` says how to get what was; with `details` there is also what only
    experts read.
    """
    for answer in answers(entries, interrupted=interrupted):
        _print_answer(answer, console)
    most = sum(len(entry.rows) for entry in entries) + 1 if everything else MOST_LINES
    for table, cut, what in tables_of(entries, differences, most, details=details):
        console.print(_fitting(table, console))
        if cut > 0:
            console.print(f"... and {cut} {what}; {hint}")
    if any(row.shape for entry in entries for row in entry.rows):
        console.print(Text(_LEGEND, "dim"))
    for entry in entries if details else [entry for entry in entries if entry.step is not None][:1]:
        if entry.step is not None:
            case = f"{named(entry)}: " if len(entries) > 1 else ""
            console.print(shown(f"{case}{step_title(entry.step)}:"))
            _print_step(entry.step, console)
        if details and (curves := curves_of(entry)) is not None and curves.has_steps:
            print_score_map(curves, console)
    for note in notes_of(entries):
        # A command stays one line, to be copied.
        console.print(shown(note), soft_wrap=note.startswith("again: "))
    if len(entries) > 1:
        console.print(conclusion_of(entries, interrupted=interrupted))


def tables_of(
    entries: Sequence[Entry], differences: Sequence[Difference] = (), most: int = MOST_LINES, *, details: bool = False
) -> Iterator[tuple[Table, int, str]]:
    """Yield the tables of a report, each with how many of its lines were cut, and what those are."""
    failures = failures_of(entries)
    if failures and len(entries) > 1:
        yield _failures_table(failures[:most]), len(failures) - most, "more rows failed"
    if ways_of(entries, "backend"):
        lines = {(entry.name, entry.path) for entry in entries}
        yield _backends_table(entries, differences, most), len(lines) - most, "more cases"
    elif len(entries) == 1:
        yield _rows_table(entries[0], most, details=details), len(entries[0].rows) - most, "more rows"
    elif entries:
        yield _entries_table(entries[:most], details=details), len(entries) - most, "more cases"


_LEGEND = (
    "typical rounding: what rounding does to such numbers; score: the largest difference in units of it, at most "
    f"{SCORE_LIMIT:g} if right"
)


def _print_answer(answer: Answer, console: Console) -> None:
    style = _STYLES[answer.verdict]
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(answer.label, style), Text(answer.first, style))
    for line in answer.further:
        grid.add_row("", Text(line))
    console.print(grid)


# Columns that are left out first where a table is too wide, the later ones sooner.
_LEFT_OUT = (
    "bound use", "rms", "shape", "typical rounding", "difference", "end to end", "score", "check", "got", "expected"
)  # fmt: skip


def _fitting(table: Table, console: Console) -> Table:
    # Without the columns that a narrow console has no place for.
    for name in _LEFT_OUT:
        if console.measure(table, options=console.options.update(width=10_000)).maximum <= console.width:
            break
        table = _without(table, name)
    return table


def _without(table: Table, name: str) -> Table:
    columns = [column for column in table.columns if str(column.header) != name]
    rest = new_table("", ())
    rest.title = table.title
    for column in columns:
        rest.add_column(column.header, justify=column.justify, overflow=column.overflow, no_wrap=column.no_wrap)
    for cells in zip(*(column.cells for column in columns), strict=True):
        rest.add_row(*cells)
    return rest


def _print_step(step: OneStep, console: Console) -> None:
    # What leads to the first wrong number, and the arrays that it comes from.
    columns = ("", *STEP_COLUMNS)
    table = new_table("", columns, columns[1:])
    for line in step_lines(step):
        table.add_row(*line)
    console.print(table)
    for name, array in {"x": step.x, "h before": step.before["h"]}.items():
        text = np.array2string(array, max_line_width=10**6, threshold=_ARRAY, edgeitems=_ARRAY // 2, precision=6)
        console.print(shown(f"{name}: {text}"))


STEP_COLUMNS = ("before the activation", "after it")


def step_title(step: OneStep) -> str:
    """Return which number the lines of a step lead to."""
    place = place_in_words({**step.place, "unit": step.unit})
    return f"{place} of layer {step.layer!r}, by the equations"


def step_lines(step: OneStep) -> Iterator[tuple[str, str, str]]:
    """Yield what leads to the first wrong number: a name, and what it is before its activation and after."""
    unit = step.unit
    for name, state in step.before.items():
        yield f"{name} before", "", _digits(state[unit])
    for name, (sums, values) in step.activations.items():
        yield name, _digits(sums[unit]), _digits(values[unit])
    for name in (each for each in step.after if each not in step.activations):
        yield name, "", _digits(step.after[name][unit])
    yield "h that was got", "", _digits(step.observed[unit])


# The most numbers of an array that are printed.
_ARRAY = 8


def _digits(number: float) -> str:
    return f"{number + 0.0:.7g}"  # without the sign of -0.0


def shown(text: str, style: str = "") -> Text:
    """Return text that has names in it, which come from users: no markup of Rich's, and on one line."""
    return Text(escaped(text), style)


def new_table(title: str, columns: Iterable[str], numbers: Container[str] = (), whole: Container[str] = ()) -> Table:
    """Return an empty table; of its columns, `numbers` are set to the right, and `whole` are wrapped last."""
    heading = shown(title) if title else None
    table = Table(title=heading, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in numbers else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column in whole)
    return table


def _failures_table(failures: Sequence[tuple[Entry, Row]]) -> Table:
    numbers = ("expected", "got", "score")
    columns = ("verdict", "case", "layer", "check", "first at", *numbers)
    table = new_table("What failed, earliest place first", columns, numbers, ("verdict",))
    for entry, row in failures:
        names = (shown(named(entry)), shown(f"{row.layer} {row.output}"), row.check)
        first, number = shown(place_text(row.first) or row.detail), row.first_number
        texts = apart(number.expected, number.actual) if number else ("-", "-")
        table.add_row(_verdict(row), *names, first, *texts, number_text(row.score_max))
    return table


def _rows_table(entry: Entry, most: int, *, details: bool) -> Table:
    numbers = ("difference", "typical rounding", "score", *(("rms", "bound use") if details else ()))
    table = new_table("", ("verdict", "layer", "check", "shape", *numbers), numbers, ("verdict",))
    for row in entry.rows[:most]:
        of_experts = (number_text(row.score_rms), number_text(row.bound_use)) if details else ()
        scores = (number_text(row.max_abs_diff), number_text(row.noise), score_text(row.score_max), *of_experts)
        table.add_row(_verdict(row), shown(f"{row.layer} {row.output}"), row.check, shape_text(row.shape), *scores)
    return table


def _entries_table(entries: Iterable[Entry], *, details: bool) -> Table:
    columns = ("end to end", "one step", "typical rounding", "score", *(("bound use",) if details else ()))
    title = "Largest differences between Keras and the equations"
    table = new_table(title, ("verdict", "case", *columns), columns, ("verdict",))
    for entry in entries:
        largest = [_largest(entry, Check.END_TO_END, "max_abs_diff"), _largest(entry, Check.STEP, "max_abs_diff")]
        numbers = [number_text(each) for each in (*largest, _largest(entry, Check.STEP, "noise"))]
        numbers.append(score_text(_largest(entry, Check.STEP, "score_max")))
        numbers += [number_text(_largest(entry, Check.STEP, "bound_use"))] if details else []
        table.add_row(_verdict(entry), shown(named(entry)), *numbers)
    return table


def score_text(score: float | None) -> str:
    """Return a score beside its limit: `1.3 of 8`."""
    number = number_text(score)
    return number if number == "-" else f"{number} of {SCORE_LIMIT:g}"


def _backends_table(entries: Sequence[Entry], differences: Sequence[Difference], most: int) -> Table:
    # A line for each case: each backend's verdict and score, and the largest difference between two.
    backends = ways_of(entries, "backend")
    columns = ("case", *backends, "differ by")
    table = new_table("Verdict and largest score of a step on each backend", columns, ("differ by",))
    by_case: dict[str, list[Entry]] = {}
    refused: dict[str, list[str]] = {}  # where an export was not run
    for entry in entries:
        by_case.setdefault(named(replace(entry, backend="")), []).append(entry)
    for entry in entries:
        for way in entry.refused:
            refused.setdefault(f"{entry.name}, {way}", []).append(entry.backend)
            by_case.setdefault(f"{entry.name}, {way}", [])
    for name, those in list(by_case.items())[:most]:
        about = {(entry.name, entry.path) for entry in those}
        apart = [each.max_abs_diff for each in differences if (each.case, each.path) in about]
        cells = dict.fromkeys(backends, Text("-"))  # a path may not exist on every backend
        for entry in those:
            score = _largest(entry, Check.STEP, "score_max")
            text = str(entry.verdict) if score is None else f"{entry.verdict} {number_text(score)}"
            cells[entry.backend] = Text(text, _STYLES[entry.verdict])
        cells |= dict.fromkeys(refused.get(name, ()), Text("refused"))
        table.add_row(shown(name), *cells.values(), number_text(max(apart, default=None)))
    return table


def _largest(entry: Entry, check: Check, name: str) -> float | None:
    numbers = [getattr(row, name) for row in entry.rows if row.check is check]
    return max((number for number in numbers if number is not None), default=None)


def number_text(value: float | None) -> str:
    """Return a number with three digits or so; `-` for None."""
    if value is None or math.isnan(value):
        return "-"
    return "0" if value == 0 else f"{value:.2f}" if 0.1 <= abs(value) < 1000 else f"{value:.1e}"


def _verdict(of: Row | Entry) -> Text:
    return Text(verdict_text(of), _STYLES[of.verdict])


def notes_of(entries: Sequence[Entry]) -> list[str]:
    """Return what else a reader must know; only JSON has the notes of cases that match among others."""
    # One case or model, though on several paths and with its exports.
    alone = len({entry.name for entry in entries if not entry.way}) == 1
    notes = _noted(entry for entry in entries if alone or entry.verdict is not Verdict.MATCH)
    failing = [entry for entry in entries if entry.verdict is Verdict.MISMATCH][:MOST_DIAGNOSED]
    found = [entry.precision for entry in (entries if len(entries) == 1 else failing)]
    notes += [f"precision: {each}" for each in found if each and each.consistent_with]
    # A blind spot is one of the inputs, the same on every backend and path: the first of each tells it.
    backends, paths = {"", *ways_of(entries, "backend")[:1]}, {"", *ways_of(entries, "path")[:1]}
    for entry in entries:
        if entry.backend in backends and entry.path in paths:
            notes += _blind_spots(entry)
    commands = dict.fromkeys(entry.again for entry in entries if entry.verdict in FAILED and entry.again)
    # Without repetition, in order.
    return list(dict.fromkeys(notes)) + [f"again: {command}" for command in list(commands)[:3]]


def _noted(entries: Iterable[Entry]) -> list[str]:
    # A note that several entries of a case share names only the case.
    having: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        for note in entry.further_notes:
            having.setdefault((entry.name, note), []).append(entry)
    return [f"note: {named(own[0]) if len(own) == 1 else name}: {note}" for (name, note), own in having.items()]


def _blind_spots(entry: Entry) -> Iterator[str]:
    # A line for each layer, in which faults that have a reason in common stand together.
    layers: dict[str, dict[tuple[str, str], list[str]]] = {}
    for spot in entry.blind_spots:
        layers.setdefault(spot.layer, {}).setdefault((spot.reason, spot.remedy), []).append(f"`{spot.fault}`")
    for layer, reasons in layers.items():
        said = (f"{', '.join(faults)}: {reason}. {remedy}" for (reason, remedy), faults in reasons.items())
        yield f"blind spots in {layer!r}: {' '.join(said)}"


def conclusion_of(entries: Sequence[Entry], *, interrupted: bool = False) -> Text:
    """Return how many cases and numbers there are, and how many cases end in each verdict."""
    counts = {v: sum(entry.verdict is v for entry in entries) for v in Verdict}
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    rows = [row for entry in entries for row in entry.rows]
    text = f"{count_cases(len(entries))}, {compared(rows):,} numbers compared: {said}"
    return Text(text + (" (interrupted)" if interrupted else ""), _STYLES[worst_of(entries)])


def print_self_test(found: SelfTest, console: Console) -> None:
    """Print a line for each fault and each control of a self-test, then what went wrong."""
    columns = ("fault", "class", "caught by", "margin", "hidden", "smallest case that shows it")
    faults = new_table("Faults", columns, columns[3:5])
    for outcome in found.outcomes:
        caught = Text(outcome.check if outcome.caught else "missed", "green" if outcome.caught else "bold red")
        margin = number_text(outcome.margin) if outcome.caught else "-"
        hidden = str(outcome.hidden or "-")
        faults.add_row(outcome.fault, outcome.group, caught, margin, hidden, Text(outcome.case))
    console.print(faults)
    numbered = ("runs", "alarms", "score max")
    controls = new_table("Correct runs", ("control", *numbered, "what it is"), numbered)
    for control in found.controls:
        numbers = (str(control.runs), str(len(control.alarms)), number_text(control.score_max))
        controls.add_row(control.name, *numbers, control.summary)
    console.print(controls)
    for line in found.complaints:
        console.print(Text(line, "bold red"))
    count = sum(outcome.caught for outcome in found.outcomes)
    alarms = sum(len(control.alarms) for control in found.controls)
    runs = sum(control.runs for control in found.controls)
    text = f"{count} of {len(found.outcomes)} faults caught; {alarms} of {runs} correct runs flagged"
    console.print(Text(text, "green" if found.passed else "bold red"))
