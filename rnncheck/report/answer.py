"""The answer of a report: on its first line the verdict, what is wrong and where; then the numbers there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rnncheck.checks.blocks import Place
from rnncheck.checks.scores import Number
from rnncheck.checks.thresholds import SCORE_LIMIT
from rnncheck.checks.verdicts import FAILED, Check, Row, Verdict
from rnncheck.errors import escaped
from rnncheck.report.entry import DEVIATES, MOST_DIAGNOSED, Entry, count_cases, failures_of, named, worst_of

# What the axes of an array are called.
_AXES = {"n": "sample", "t": "step"}

# The digits of two numbers that differ: at least so many, at most so many as tell any two float64 apart.
_FEW_DIGITS, _ALL_DIGITS = 4, 17


@dataclass(frozen=True)
class Answer:
    """What a report says, in lines without markup: the first is a whole answer, the others belong to it."""

    verdict: Verdict
    first: str
    further: tuple[str, ...] = ()

    def __str__(self) -> str:
        indent = "\n" + " " * (len(self.label) + 2)
        return indent.join((f"{self.label}  {self.first}", *self.further))

    @property
    def label(self) -> str:
        """The verdict, as the first line begins with it."""
        return self.verdict.upper()


def answers(entries: Sequence[Entry], *, interrupted: bool = False) -> list[Answer]:
    """Return the answer of a report: one for each of the first entries that failed, or one for all."""
    if not entries:
        return [Answer(Verdict.ERROR, "nothing was checked")]
    failing = [entry for entry in entries if entry.verdict in FAILED] or [
        entry for entry in entries if entry.verdict is not Verdict.MATCH
    ]
    if failing:
        found = [_of_entry(entry) for entry in _unlike(failing)[:MOST_DIAGNOSED]]
    else:
        rows = [row for entry in entries for row in entry.rows]
        of = escaped(named(entries[0])) if len(entries) == 1 else count_cases(len(entries))
        first = f"{of}: all {compared(rows):,} numbers agree with the equations; {_nearest(rows)}"
        found = [Answer(worst_of(entries), first, tuple(dict.fromkeys(_not_judged(entries))))]
    first = f"{found[0].first} (interrupted)" if interrupted else found[0].first
    return [replace(found[0], first=first), *found[1:]]


def _unlike(failing: Sequence[Entry]) -> list[Entry]:
    # Of several uses of one export that fail alike the first alone.
    plain = {(entry.backend, entry.verdict) for entry in failing if not entry.way}
    return [entry for entry in failing if not entry.way or (entry.backend, entry.verdict) not in plain]


def _of_entry(entry: Entry) -> Answer:
    what, further = {
        Verdict.MISMATCH: _mismatch,
        Verdict.ERROR: _error,
        Verdict.UNDECIDABLE: _undecidable,
    }[entry.verdict](entry)
    return Answer(entry.verdict, escaped(f"{named(entry)}: {what}"), tuple(map(escaped, further)))


def _error(entry: Entry) -> tuple[str, list[str]]:
    row = next(row for row in entry.rows if row.verdict is Verdict.ERROR)
    where = "" if row.output == "all" else f"{row.layer} {row.output}: "
    return f"{where}{row.detail}", []


def _undecidable(entry: Entry) -> tuple[str, list[str]]:
    row = next((row for row in entry.rows if row.verdict is Verdict.UNDECIDABLE and row.decides), None)
    if row is not None:
        return f"{row.layer} {row.output}: {row.detail}", []
    checked = f"all {compared(entry.rows):,} numbers that were checked agree with the equations"
    return f"{checked}; not checked: {', '.join(map(repr, entry.unchecked))}", []


def _mismatch(entry: Entry) -> tuple[str, list[str]]:
    ((_, failed), *_) = failures_of([entry])
    what, further = next(_causes(entry, failed), (f"{_where(failed)} differs from its equations", []))
    first, worst = failed.first_number, failed.worst_number
    told = [f"first wrong at {_at(failed, entry)}: {_numbers(first)}"] if first else []
    if worst and not (first and worst.place == first.place):
        told.append(f"worst at {place_in_words(worst.place)}: {_numbers(worst)}")
    told += [failed.detail] if failed.detail else []
    return what, [*told, *further]


def _causes(entry: Entry, failed: Row) -> Iterator[tuple[str, list[str]]]:
    # What is wrong, in words, and what else belongs to it; the first is the most certain.
    for note in entry.notes:
        if note.startswith(DEVIATES):
            yield note, []
    diagnosis, precision = entry.diagnosis, entry.precision
    if diagnosis is not None and diagnosis.explanations:
        best, *others = diagnosis.explanations
        names = ", ".join(f"`{name}`" for name in dict.fromkeys(best.faults))
        undone = f"with that undone, all {compared(entry.rows):,} numbers agree to rounding ({names})"
        equals = (f"or just as well: {_in_layers(each.layers, each.summary)}" for each in others)
        yield _in_layers(best.layers, best.summary), [undone, *equals]
    if diagnosis is not None and diagnosis.weights:
        first, *more = map(str, diagnosis.weights)
        yield first, [*more, "with that undone, all numbers agree to rounding"]
    if diagnosis is not None and diagnosis.by_layer:
        each_alone = "; ".join(_in_layers(found.layers, found.summary) for found in diagnosis.by_layer)
        yield each_alone, [f"that does not explain the whole run: {diagnosis.shape}"]
    if precision is not None and precision.consistent_with not in {None, precision.stated}:
        yield str(precision), []
    if diagnosis is not None and diagnosis.shape.startswith("layer"):
        yield f"{diagnosis.shape}; no known mistake explains it", []
    if diagnosis is not None:
        further = [diagnosis.shape] if diagnosis.shape else []
        yield f"{_where(failed)} differs from its equations; no known mistake explains it", further


def _in_layers(layers: Sequence[str], summary: str) -> str:
    names = [repr(name) for name in dict.fromkeys(layers)]
    return f"in layer{'s' if len(names) > 1 else ''} {' and '.join(names)}, {summary}"


def _where(row: Row) -> str:
    return f"layer {row.layer!r}" if row.output in {"h", "output"} else f"{row.output} of layer {row.layer!r}"


def _at(row: Row, entry: Entry) -> str:
    # The layer goes without saying where the cause names it and it is the only one.
    several = len({each.layer for each in entry.rows}) > 1
    return place_in_words(row.first) + (f" of {_where(row)}" if several else "")


def compared(rows: Sequence[Row]) -> int:
    """Return how many numbers some rows compared."""
    # An extra tolerance compares the numbers of another row again; a row without a shape compared none.
    return sum(math.prod(row.shape) for row in rows if row.shape and row.check is not Check.TOLERANCE)


def _nearest(rows: Sequence[Row]) -> str:
    share = max(max(row.score_max / SCORE_LIMIT, row.bound_use or 0.0) for row in rows if row.decides)
    return "none differs" if share == 0.0 else f"the largest difference is {share:.0%} of what rounding allows"


def _not_judged(entries: Sequence[Entry]) -> Iterator[str]:
    aside = [row for entry in entries for row in entry.rows if not row.decides]
    for row in aside:
        why = row.detail if len(entries) == 1 else "the end-to-end difference cannot be judged"
        yield escaped(f"{row.layer} {row.output}: {why}; every step on the way was checked instead")


def place_in_words(place: Place | None) -> str:
    """Return a place as a sentence has it: `sample 0, step 3, unit 2`."""
    return ", ".join(f"{_AXES.get(axis, axis.replace('_', ' '))} {index}" for axis, index in (place or {}).items())


def _numbers(number: Number) -> str:
    expected, got = apart(number.expected, number.actual)
    return f"expected {expected}, got {got}; rounding allows {number.allowed:.2g}"


def apart(one: float, other: float) -> tuple[str, str]:
    """Return two numbers as text, with as few digits as show how they differ."""
    one, other = one + 0.0, other + 0.0  # without the sign of -0.0
    for digits in range(_FEW_DIGITS, _ALL_DIGITS + 1):
        texts = f"{one:.{digits}g}", f"{other:.{digits}g}"
        # One digit more than differs, so that a rounding of the last does not look like the difference.
        if texts[0] != texts[1]:
            more = min(digits + 1, _ALL_DIGITS) if digits > _FEW_DIGITS else digits
            return f"{one:.{more}g}", f"{other:.{more}g}"
    return texts
