"""How a report looks: on a console, as text, in a notebook."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnncheck.checks.blocks import place_text
from rnncheck.checks.verdicts import FAILED, Check, Row, Verdict
from rnncheck.errors import escaped
from rnncheck.report.entry import (
    MOST_DIAGNOSED,
    Difference,
    Entry,
    count_cases,
    failures_of,
    frame_of,
    shape_text,
    ways_of,
    worst_of,
)

if TYPE_CHECKING:
    from rnncheck.faults.diagnosis import Explanation
    from rnncheck.report.outcomes import SelfTest

# Longer tables are cut here; --json and --csv have everything.
MOST_LINES = 24

# As wide as a README's code block.
_WIDTH = 118

_STYLES = {
    Verdict.MATCH: "green",
    Verdict.MISMATCH: "bold red",
    Verdict.UNDECIDABLE: "yellow",
    Verdict.ERROR: "bold red",
}


def to_text(entries: Sequence[Entry], differences: Sequence[Difference] = (), *, interrupted: bool = False) -> str:
    """Return a report as plain text."""
    buffer = io.StringIO()
    # In a notebook Rich would write past the buffer.
    console = Console(file=buffer, width=_WIDTH, color_system=None, force_jupyter=False)
    print_report(entries, console, differences, interrupted=interrupted)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def to_html(entries: Sequence[Entry], *, interrupted: bool = False) -> str:
    """Return a report as a notebook shows it: the rows as a table, notes, and a conclusion."""
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in _notes(entries))
    table = frame_of(entries).to_html(index=False, max_rows=MOST_LINES, na_rep="-")
    return (
        f"<div>{table}{notes}<p><b>{html.escape(_conclusion(entries, interrupted=interrupted).plain)}</b></p></div>"
    )


def print_report(
    entries: Sequence[Entry],
    console: Console,
    differences: Sequence[Difference] = (),
    *,
    interrupted: bool = False,
    everything: bool = False,
) -> None:
    """Print a report: what failed, then a line for each case, notes, and a conclusion; with `everything`, uncut."""
    rows = sum(len(entry.rows) for entry in entries)
    most = rows + 1 if everything else MOST_LINES
    failures, on_backends = failures_of(entries), ways_of(entries, "backend")
    if failures:
        console.print(_failures_table(failures[:most]))
        _say_what_was_cut(console, len(failures) - most, "more rows failed")
    if on_backends:
        console.print(_backends_table(entries, differences, most))
    else:
        console.print(_rows_table(entries[0], most) if len(entries) == 1 else _entries_table(entries[:most]))
    lines = {(entry.name, entry.path) for entry in entries} if on_backends else entries
    _say_what_was_cut(console, len(lines) - most, "more cases")
    if len(entries) == 1:
        _say_what_was_cut(console, rows - most, "more rows")
    for note in _notes(entries):
        # A command stays one line, to be copied.
        console.print(shown(note), soft_wrap=note.startswith("again: "))
    console.print(_conclusion(entries, interrupted=interrupted))


def _say_what_was_cut(console: Console, count: int, what: str) -> None:
    if count > 0:
        console.print(f"... and {count} {what}; --all prints every line, --json and --csv write every row")


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
    columns = ("case", "layer", "check", "first at", "score", "bound use", "verdict")
    table = new_table("What failed, earliest place first", columns, ("score", "bound use"))
    for entry, row in failures:
        verdict = Text(f"{row.verdict}, proven" if row.proven else str(row.verdict), _STYLES[row.verdict])
        names = (shown(_named(entry)), shown(f"{row.layer} {row.output}"), row.check)
        first = shown(place_text(row.first) or row.detail)
        table.add_row(*names, first, _number(row.score_max), _number(row.bound_use), verdict)
    return table


def _named(entry: Entry) -> str:
    return (
        entry.name + (f" by {entry.path}" if entry.path else "") + (f" on {entry.backend}" if entry.backend else "")
    )


def _rows_table(entry: Entry, most: int) -> Table:
    columns = ("layer", "check", "shape", "max abs diff", "noise", "score max", "rms", "bound use", "verdict")
    table = new_table(entry.name, columns, columns[3:8])
    for row in entry.rows[:most]:
        numbers = map(_number, (row.max_abs_diff, row.noise, row.score_max, row.score_rms, row.bound_use))
        name = shown(f"{row.layer} {row.output}")
        table.add_row(name, row.check, shape_text(row.shape), *numbers, _verdict(row.verdict))
    return table


def _entries_table(entries: Iterable[Entry]) -> Table:
    columns = ("case", "end to end", "one step", "noise", "score max", "bound use", "verdict")
    table = new_table("Largest differences between Keras and the equations", columns, columns[1:6])
    for entry in entries:
        largest = [_largest(entry, Check.END_TO_END, "max_abs_diff")]
        largest += [_largest(entry, Check.STEP, name) for name in ("max_abs_diff", "noise", "score_max", "bound_use")]
        table.add_row(shown(_named(entry)), *map(_number, largest), _verdict(entry.verdict))
    return table


def _backends_table(entries: Sequence[Entry], differences: Sequence[Difference], most: int) -> Table:
    # A line for each case: each backend's verdict and score, and the largest difference between two.
    backends = ways_of(entries, "backend")
    columns = ("case", *backends, "differ by")
    table = new_table("Verdict and largest score of a step on each backend", columns, ("differ by",))
    by_case: dict[str, list[Entry]] = {}
    for entry in entries:
        by_case.setdefault(_named(replace(entry, backend="")), []).append(entry)
    for name, those in list(by_case.items())[:most]:
        about = {(entry.name, entry.path) for entry in those}
        apart = [each.max_abs_diff for each in differences if (each.case, each.path) in about]
        cells = dict.fromkeys(backends, Text("-"))  # a path may not exist on every backend
        for entry in those:
            score = _largest(entry, Check.STEP, "score_max")
            text = str(entry.verdict) if score is None else f"{entry.verdict} {_number(score)}"
            cells[entry.backend] = Text(text, _STYLES[entry.verdict])
        table.add_row(shown(name), *cells.values(), _number(max(apart, default=None)))
    return table


def _largest(entry: Entry, check: Check, name: str) -> float | None:
    numbers = [getattr(row, name) for row in entry.rows if row.check is check]
    return max((number for number in numbers if number is not None), default=None)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return "0" if value == 0 else f"{value:.2f}" if 0.1 <= abs(value) < 1000 else f"{value:.1e}"


def _verdict(verdict: Verdict) -> Text:
    return Text(str(verdict), _STYLES[verdict])


def _notes(entries: Sequence[Entry]) -> list[str]:
    # What else a reader must know; only JSON has the notes of cases that match among others.
    alone = len({entry.name for entry in entries}) == 1  # one case or model, though on several paths
    notes = _noted(entry for entry in entries if alone or entry.verdict is not Verdict.MATCH)
    for entry in entries:
        on = f"{entry.backend}: " if entry.backend else ""
        for row in entry.rows:
            if row.detail and row.decides and (row.verdict is Verdict.ERROR or len(entries) == 1):
                notes.append(f"{row.verdict}: {on}{row.layer} {row.output}: {row.detail}")
    aside = [row for entry in entries for row in entry.rows if not row.decides]
    for row in aside:
        why = row.detail if len(entries) == 1 else "the end-to-end difference cannot be judged"
        notes.append(f"note: {row.layer} {row.output}: {why}. Every step on the way was checked instead.")
    failing = [entry for entry in entries if entry.verdict is Verdict.MISMATCH][:MOST_DIAGNOSED]
    found = [entry.precision for entry in (entries if len(entries) == 1 else failing)]
    notes += [f"precision: {each}" for each in found if each and each.consistent_with]
    notes += [f"diagnosis: {line}" for entry in failing for line in _diagnosis(entry)]
    # A blind spot is one of the inputs, the same on every backend and path: the first of each tells it.
    backends, paths = {"", *ways_of(entries, "backend")[:1]}, {"", *ways_of(entries, "path")[:1]}
    for entry in entries:
        if entry.backend in backends and entry.path in paths:
            notes += _blind_spots(entry)
    again = [entry for entry in entries if entry.verdict in FAILED and entry.reproduce]
    commands = [each.reproduce + (f" --backend {each.backend}" if each.backend else "") for each in again]
    # Without repetition, in order.
    return list(dict.fromkeys(notes)) + [f"again: {command}" for command in commands[:3]]


def _noted(entries: Iterable[Entry]) -> list[str]:
    # A note that several entries of a case share names only the case.
    having: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        for note in entry.notes:
            having.setdefault((entry.name, note), []).append(entry)
    return [f"note: {_named(own[0]) if len(own) == 1 else name}: {note}" for (name, note), own in having.items()]


def _explanation(explanation: Explanation) -> str:
    # A fault's layers stand together.
    layers: dict[str, list[str]] = {}
    for fault, layer in zip(explanation.faults, explanation.layers, strict=True):
        layers.setdefault(fault, []).append(repr(layer))
    faults = " and ".join(f"`{fault}` in {' and '.join(names)}" for fault, names in layers.items())
    return f"{faults} (score {_number(explanation.before)} -> {_number(explanation.after)}): {explanation.summary}"


def _diagnosis(entry: Entry) -> Iterator[str]:
    diagnosis = entry.diagnosis
    if diagnosis is None:
        return
    for number, each in enumerate(diagnosis.explanations):
        yield f"{'explained' if number == 0 else 'or just as well'} by {_explanation(each)}"
    yield from map(str, diagnosis.weights)
    for each in diagnosis.by_layer:
        yield f"the steps of layer {each.layers[0]!r} are explained by {_explanation(each)}"
    if diagnosis.shape:
        yield f"explained by no known fault; {diagnosis.shape}"


def _blind_spots(entry: Entry) -> Iterator[str]:
    # A line for each layer, in which faults that have a reason in common stand together.
    layers: dict[str, dict[tuple[str, str], list[str]]] = {}
    for spot in entry.blind_spots:
        layers.setdefault(spot.layer, {}).setdefault((spot.reason, spot.remedy), []).append(f"`{spot.fault}`")
    for layer, reasons in layers.items():
        said = (f"{', '.join(faults)}: {reason}. {remedy}" for (reason, remedy), faults in reasons.items())
        yield f"blind spots in {layer!r}: {' '.join(said)}"


def _conclusion(entries: Sequence[Entry], *, interrupted: bool) -> Text:
    counts = {v: sum(entry.verdict is v for entry in entries) for v in Verdict}
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    rows = [row for entry in entries for row in entry.rows]
    # An extra tolerance compares the numbers of another row again; a row without a shape compared none.
    compared = sum(math.prod(row.shape) for row in rows if row.shape and row.check is not Check.TOLERANCE)
    text = f"{count_cases(len(entries))}, {compared:,} numbers compared: {said}"
    return Text(text + (" (interrupted)" if interrupted else ""), _STYLES[worst_of(entries)])


def print_self_test(found: SelfTest, console: Console) -> None:
    """Print a line for each fault and each control of a self-test, then what went wrong."""
    columns = ("fault", "class", "caught by", "margin", "hidden", "smallest case that shows it")
    faults = new_table("Faults", columns, columns[3:5])
    for outcome in found.outcomes:
        caught = Text(outcome.check if outcome.caught else "missed", "green" if outcome.caught else "bold red")
        margin = _number(outcome.margin) if outcome.caught else "-"
        hidden = str(outcome.hidden or "-")
        faults.add_row(outcome.fault, outcome.group, caught, margin, hidden, Text(outcome.case))
    console.print(faults)
    numbered = ("runs", "alarms", "score max")
    controls = new_table("Correct runs", ("control", *numbered, "what it is"), numbered)
    for control in found.controls:
        numbers = (str(control.runs), str(len(control.alarms)), _number(control.score_max))
        controls.add_row(control.name, *numbers, control.summary)
    console.print(controls)
    for line in found.complaints:
        console.print(Text(line, "bold red"))
    count = sum(outcome.caught for outcome in found.outcomes)
    alarms = sum(len(control.alarms) for control in found.controls)
    runs = sum(control.runs for control in found.controls)
    text = f"{count} of {len(found.outcomes)} faults caught; {alarms} of {runs} correct runs flagged"
    console.print(Text(text, "green" if found.passed else "bold red"))
