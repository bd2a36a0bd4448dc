"""How a report looks: on a console, as text, in a notebook."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Container, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnncheck.checks.verdicts import FAILED, Check, Verdict
from rnncheck.report.values import place_text, shape_text

if TYPE_CHECKING:
    from rnncheck.faults.diagnosis import Explanation
    from rnncheck.report.report import Entry, Report
    from rnncheck.report.self_test import SelfTest

# Longer tables are cut here; --json and --csv have everything.
MOST_LINES = 24

_WIDTH = 118

_STYLES = {
    Verdict.MATCH: "green",
    Verdict.MISMATCH: "bold red",
    Verdict.UNDECIDABLE: "yellow",
    Verdict.ERROR: "bold red",
}


def to_text(report: Report) -> str:
    """Return a report as plain text, as wide as a README's code block."""
    buffer = io.StringIO()
    print_report(report, Console(file=buffer, width=_WIDTH, color_system=None, force_jupyter=False))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def print_report(report: Report, console: Console, *, everything: bool = False) -> None:
    """Print a report: what failed, then a line for each case, notes, and a conclusion.

    Args:
        report: what to print.
        console: where to.
        everything: whether to print every line, however many there are.
    """
    most = len(report.rows) + 1 if everything else MOST_LINES
    if report.failures():
        console.print(_failures_table(report, most))
        _say_what_was_cut(console, len(report.failures()) - most, "more rows failed")
    if report.backends:
        console.print(_backends_table(report, most))
    else:
        console.print(
            _rows_table(report, most) if len(report.entries) == 1 else _entries_table(report.entries[:most])
        )
    lines = {(entry.name, entry.path) for entry in report.entries} if report.backends else report.entries
    _say_what_was_cut(console, len(lines) - most, "more cases")
    if len(report.entries) == 1:
        _say_what_was_cut(console, len(report.rows) - most, "more rows")
    for note in _notes(report):
        console.print(Text(note), soft_wrap=note.startswith("again: "))  # a command stays one line
    console.print(_conclusion(report))


def _say_what_was_cut(console: Console, count: int, what: str) -> None:
    if count > 0:
        console.print(f"... and {count} {what}; --all prints every line, --json and --csv write every row")


def new_table(title: str, columns: Iterable[str], numbers: Container[str] = (), whole: Container[str] = ()) -> Table:
    """Return an empty table.

    Args:
        title: what stands above it; empty for nothing.
        columns: their names.
        numbers: the columns that are set to the right.
        whole: the columns that are wrapped last.
    """
    heading = Text(title) if title else None
    table = Table(title=heading, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in numbers else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column in whole)
    return table


def _failures_table(report: Report, most: int) -> Table:
    columns = ("case", "layer", "check", "first at", "score", "bound use", "verdict")
    table = new_table("What failed, earliest place first", columns, ("score", "bound use"))
    for entry, row in report.failures()[:most]:
        verdict = Text(f"{row.verdict}, proven" if row.proven else str(row.verdict), _STYLES[row.verdict])
        names = (Text(_named(entry)), Text(f"{row.layer} {row.output}"), row.check)
        first = Text(place_text(row.first) or row.detail)
        table.add_row(*names, first, _number(row.score_max), _number(row.bound_use), verdict)
    return table


def _named(entry: Entry) -> str:
    by = f" by {entry.path}" if entry.path else ""
    on = f" on {entry.backend}" if entry.backend else ""
    return f"{entry.name}{by}{on}"


def _rows_table(report: Report, most: int) -> Table:
    (entry,) = report.entries
    columns = ("layer", "check", "shape", "max abs diff", "noise", "score max", "rms", "bound use", "verdict")
    table = new_table(entry.name, columns, columns[3:8])
    for row in entry.rows[:most]:
        table.add_row(
            Text(f"{row.layer} {row.output}"),
            row.check,
            shape_text(row.shape),
            *map(_number, (row.max_abs_diff, row.noise, row.score_max, row.score_rms, row.bound_use)),
            _verdict(row.verdict),
        )
    return table


def _entries_table(entries: Iterable[Entry]) -> Table:
    columns = ("case", "end to end", "one step", "noise", "score max", "bound use", "verdict")
    table = new_table("Largest differences between Keras and the equations", columns, columns[1:6])
    for entry in entries:
        steps = [row for row in entry.rows if row.check is Check.STEP]
        ends = [row for row in entry.rows if row.check is Check.END_TO_END]
        table.add_row(
            Text(_named(entry)),
            _number(_largest(row.max_abs_diff for row in ends)),
            *(
                _number(_largest(getattr(row, name) for row in steps))
                for name in ("max_abs_diff", "noise", "score_max", "bound_use")
            ),
            _verdict(entry.verdict),
        )
    return table


def _backends_table(report: Report, most: int) -> Table:
    """Return a line for each case: each backend's verdict and score, and the largest difference between two."""
    columns = ("case", *report.backends, "differ by")
    title = "Verdict and largest score of a step on each backend"
    table = new_table(title, columns, ("differ by",))
    by_case: dict[str, list[Entry]] = {}
    for entry in report.entries:
        by_case.setdefault(_named(replace(entry, backend="")), []).append(entry)
    for name, entries in list(by_case.items())[:most]:
        about = {(entry.name, entry.path) for entry in entries}
        differences = [each.max_abs_diff for each in report.differences if (each.case, each.path) in about]
        ran = {entry.backend: _on_backend(entry) for entry in entries}
        table.add_row(
            Text(name), *(ran.get(each, "-") for each in report.backends), _number(max(differences, default=None))
        )
    return table


def _on_backend(entry: Entry) -> Text:
    scores = [row.score_max for row in entry.rows if row.check is Check.STEP]
    score = f" {_number(max(scores))}" if scores else ""
    return Text(f"{entry.verdict}{score}", _STYLES[entry.verdict])


def _largest(numbers: Iterable[float | None]) -> float | None:
    return max((number for number in numbers if number is not None), default=None)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return "0" if value == 0 else f"{value:.2f}" if 0.1 <= abs(value) < 1000 else f"{value:.1e}"


def _verdict(verdict: Verdict) -> Text:
    return Text(str(verdict), _STYLES[verdict])


def _notes(report: Report) -> list[str]:
    """Return what else a reader must know; only JSON has the notes of cases that match among others."""
    alone = len({entry.name for entry in report.entries}) == 1  # one case or model, though on several paths
    noted = [entry for entry in report.entries if alone or entry.verdict is not Verdict.MATCH]
    notes = _noted(noted)
    notes += [
        f"{row.verdict}: {f'{entry.backend}: ' if entry.backend else ''}{row.layer} {row.output}: {row.detail}"
        for entry in report.entries
        for row in entry.rows
        if row.detail and (row.verdict is Verdict.ERROR or len(report.entries) == 1)
    ]
    for row in report.rows:
        if row.verdict is Verdict.UNDECIDABLE and not row.decides:
            notes.append(
                f"note: {row.layer} {row.output}: the end-to-end difference cannot be judged, because errors were "
                "amplified too far or are too large a share of the signal; every step on the way was checked instead."
            )
    asked = report.entries if len(report.entries) == 1 else _first_failing(report)
    notes += [
        f"precision: {found}" for found in (each.precision for each in asked) if found and found.consistent_with
    ]
    notes += [line for entry in _first_failing(report) for line in _diagnosis(entry)]
    first = {"", *report.backends[:1]}, {"", *report.paths[:1]}
    shown = [entry for entry in report.entries if entry.backend in first[0] and entry.path in first[1]]
    notes += [line for entry in shown for line in _blind_spots(entry)]
    commands = [
        entry.reproduce + (f" --backend {entry.backend}" if entry.backend else "")
        for entry in report.entries
        if entry.verdict in FAILED and entry.reproduce
    ]
    return list(dict.fromkeys(notes)) + [f"again: {command}" for command in commands[:3]]


def _noted(entries: Iterable[Entry]) -> list[str]:
    """Return the notes of entries; one that several share names only the case."""
    having: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        for note in entry.notes:
            having.setdefault((entry.name, note), []).append(entry)
    return [
        f"note: {_named(those[0]) if len(those) == 1 else name}: {note}" for (name, note), those in having.items()
    ]


# How many failing cases of a long report are diagnosed on a console; --json has all.
_DIAGNOSED = 3


def _first_failing(report: Report) -> list[Entry]:
    return [entry for entry in report.entries if entry.verdict is Verdict.MISMATCH][:_DIAGNOSED]


def _diagnosis(entry: Entry) -> list[str]:
    """Return why an entry does not match, in words."""
    diagnosis = entry.diagnosis
    if diagnosis is None:
        return []
    lines = [
        f"{'explained' if number == 0 else 'or just as well'} by {_faults(each)} (score {_number(each.before)} -> "
        f"{_number(each.after)}): {each.summary}"
        for number, each in enumerate(diagnosis.explanations)
    ]
    lines += [str(wrong) for wrong in diagnosis.weights]
    if diagnosis.shape:
        lines.append(f"explained by no known fault; {diagnosis.shape}")
    return [f"diagnosis: {line}" for line in lines]


def _faults(explanation: Explanation) -> str:
    where = zip(explanation.faults, explanation.layers, strict=True)
    return " and ".join(f"`{fault}` in {layer!r}" for fault, layer in where)


def _blind_spots(entry: Entry) -> list[str]:
    """Return the faults that a run could not have shown, grouped by reason."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for spot in entry.blind_spots:
        grouped.setdefault((spot.layer, spot.reason, spot.remedy), []).append(spot.fault)
    return [
        f"blind spot: {', '.join(f'`{fault}`' for fault in faults)} in {layer!r} would not show: {reason}. {remedy}"
        for (layer, reason, remedy), faults in grouped.items()
    ]


def _conclusion(report: Report) -> Text:
    counts = {v: sum(entry.verdict is v for entry in report.entries) for v in Verdict}
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    compared = sum(math.prod(row.shape) for row in report.rows if row.shape and row.check is not Check.TOLERANCE)
    cases = "1 case" if len(report.entries) == 1 else f"{len(report.entries)} cases"
    text = f"{cases}, {compared:,} numbers compared: {said}"
    return Text(text + (" (interrupted)" if report.interrupted else ""), _STYLES[report.verdict])


def print_self_test(found: SelfTest, console: Console) -> None:
    """Print a line for each fault and each control of a self-test, then what went wrong."""
    faults = new_table(
        "Faults",
        ("fault", "class", "caught by", "margin", "hidden", "smallest case that shows it"),
        ("margin", "hidden"),
    )
    for outcome in found.outcomes:
        caught = Text(outcome.check if outcome.caught else "missed", "green" if outcome.caught else "bold red")
        margin = _number(outcome.margin) if outcome.caught else "-"
        hidden = str(outcome.hidden or "-")
        faults.add_row(outcome.fault, outcome.group, caught, margin, hidden, Text(outcome.case))
    console.print(faults)
    controls = new_table(
        "Correct runs", ("control", "runs", "alarms", "score max", "what it is"), ("runs", "alarms", "score max")
    )
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


def to_html(report: Report) -> str:
    """Return a report as a notebook shows it: the rows as a table, notes, and a conclusion."""
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in _notes(report))
    table = report.to_frame().to_html(index=False, max_rows=MOST_LINES, na_rep="-")
    return f"<div>{table}{notes}<p><b>{html.escape(_conclusion(report).plain)}</b></p></div>"
