"""The entries of a report, as plain data: what ran, the rows that the checks gave, and the reasons behind them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rnncheck.checks.blocks import place_text
from rnncheck.checks.verdicts import Row, Verdict, keyed_failures, worst

if TYPE_CHECKING:
    import pandas

    from rnncheck.checks.one_step import OneStep
    from rnncheck.faults.diagnosis import Diagnosis
    from rnncheck.faults.explain import FormatFound
    from rnncheck.faults.trial import BlindSpot
    from rnncheck.frameworks.arrivals import Arrival
    from rnncheck.network import Network, Recording

# The version of the JSON; it grows when a field changes its meaning or goes.
SCHEMA = 1

# How a note begins that says where Keras is known not to compute what its equations say.
DEVIATES = "Keras is known to deviate here: "

# How many failing cases a console diagnoses: one bug often breaks many, and each search takes a while.
MOST_DIAGNOSED = 3

# How many entries of a report have pictures on its page, and how many a run keeps what they need of where all match.
MOST_PICTURED = 20

# What a row has in JSON, CSV and the data frame, besides the numbers at its first and its worst place.
ROW_FIELDS = (
    "layer", "output", "check", "shape", "max_abs_diff", "noise", "score_max", "score_rms", "bound_use", "worst",
    "first", "verdict", "unjudged",
)  # fmt: skip
_NUMBERS = ("first", "worst")
_NUMBER_FIELDS = ("expected", "actual", "difference", "allowed")


@dataclass(frozen=True)
class Entry:
    """One case or one model of a report.

    Attributes:
        name: its name in tables.
        rows: the comparisons.
        seed: the seed of weights and inputs; None if they were given.
        case: the fields of the case; None for a model.
        model: the name of the model; None for a case.
        reproduce: the command that produces this entry again; empty for a model.
        notes: what else a reader of the rows must know.
        backend: the Keras backend that it ran on; empty unless backends were asked for.
        path: the compute path; empty unless paths were asked for.
        way: in which way an export was used, such as `the same again`; empty for the plain one, and for models.
        weights: what became of the model's weights in an export; empty but for the plain use of one.
        refused: the ways of using it that its runtime refused, with the reason; the same.
        diagnosis: why it does not match; None if it does, or if nobody asked.
        blind_spots: the faults that a run which matches could not have shown; empty if nobody asked.
        precision: what it was computed in, as far as its numbers tell; None if nobody asked.
        unchecked: the layers that were not checked, since rnncheck has no equations for them.
        step: the first step that is wrong, in numbers; None where no step failed.
        network: the equations that it was held against, for pictures; None where there are none. Like the next it
            stands in no file, and does not go to other processes.
        recordings: what was recorded, one for each call.
    """

    name: str
    rows: tuple[Row, ...]
    seed: int | None = None
    case: Mapping[str, Any] | None = None
    model: str | None = None
    reproduce: str = ""
    notes: tuple[str, ...] = ()
    backend: str = ""
    path: str = ""
    way: str = ""
    weights: tuple[Arrival, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    diagnosis: Diagnosis | None = None
    blind_spots: tuple[BlindSpot, ...] = ()
    precision: FormatFound | None = None
    unchecked: tuple[str, ...] = ()
    step: OneStep | None = None
    network: Network | None = field(default=None, repr=False, compare=False)
    recordings: tuple[Recording, ...] = field(default=(), repr=False, compare=False)

    # Both may be large, and a network that a format changed cannot be pickled.
    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "network": None, "recordings": ()}

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the rows that decide; at best `undecidable` where a layer was not checked."""
        of_rows = worst(self.rows)
        return Verdict.UNDECIDABLE if self.unchecked and of_rows is Verdict.MATCH else of_rows

    @property
    def proven(self) -> bool:
        """Whether some mismatch is proven."""
        return any(row.proven for row in self.rows)

    @property
    def further_notes(self) -> tuple[str, ...]:
        """The notes that the answer does not say."""
        return tuple(note for note in self.notes if not note.startswith(DEVIATES))

    @property
    def again(self) -> str:
        """The command that produces this entry again, on its backend; empty for a model."""
        return self.reproduce + (f" --backend {self.backend}" if self.reproduce and self.backend else "")

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON has it."""
        found = {
            **({"model": self.model} if self.case is None else {"case": self.case}),
            **({"backend": self.backend} if self.backend else {}),
            **({"path": self.path} if self.path else {}),
            **({"way": self.way} if self.way else {}),
            **({"weights": [_arrival_fields(each) for each in self.weights]} if self.weights else {}),
            **({"refused": dict(self.refused)} if self.refused else {}),
            "seed": self.seed,
            "verdict": str(self.verdict),
            "proven": self.proven,
            "rows": [_row_fields(row) for row in self.rows],
            "notes": list(self.notes),
            "diagnosis": None if self.diagnosis is None else asdict(self.diagnosis),
            "blind_spots": [asdict(spot) for spot in self.blind_spots],
            **({} if self.precision is None else {"precision": asdict(self.precision)}),
            **({"unchecked": list(self.unchecked)} if self.unchecked else {}),
            **({} if self.step is None else {"step": asdict(self.step)}),
        }
        return plain_values(found)


@dataclass(frozen=True)
class Difference:
    """How far the same run on two backends differs."""

    case: str  # the name of what was run
    backends: tuple[str, str]
    max_abs_diff: float  # the largest difference between their outputs
    path: str = ""  # the compute path; empty unless paths were asked for

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as JSON has it."""
        return plain_values({name: value for name, value in asdict(self).items() if value or name != "path"})


def worst_of(entries: Iterable[Entry]) -> Verdict:
    """Return the worst verdict; without entries nothing was checked, which is an error."""
    return max((entry.verdict for entry in entries), key=lambda verdict: verdict.severity, default=Verdict.ERROR)


def ways_of(entries: Iterable[Entry], way: Literal["backend", "path"]) -> tuple[str, ...]:
    """Return the backends or the compute paths that ran, in order; none unless they were asked for."""
    return tuple(dict.fromkeys(getattr(entry, way) for entry in entries if getattr(entry, way)))


def failures_of(entries: Iterable[Entry]) -> list[tuple[Entry, Row]]:
    """Return the rows that failed, step checks first, then by the earliest place.

    A layer without time steps comes after the failures before it.
    """
    failed = [(key, entry, row) for entry in entries for key, row in keyed_failures(entry.rows)]
    # The key alone: entries and rows have no order.
    return [(entry, row) for _, entry, row in sorted(failed, key=lambda each: each[0])]


def named(entry: Entry) -> str:
    """Return the name of what ran, with its path and its backend where there are several."""
    by, on = (f" by {entry.path}" if entry.path else ""), (f" on {entry.backend}" if entry.backend else "")
    return f"{entry.name}{by}{on}"


def verdict_text(of: Row | Entry) -> str:
    """Return a verdict as tables have it: `mismatch, proven`."""
    return f"{of.verdict}, proven" if of.proven else str(of.verdict)


def frame_of(entries: Iterable[Entry]) -> pandas.DataFrame:
    """Return one line for each row: numbers stay numbers, shapes and places become text."""
    import pandas

    entries = tuple(entries)
    ways = [way for way in ("backend", "path") if any(getattr(entry, way) for entry in entries)]
    examples = list(product(_NUMBERS, _NUMBER_FIELDS))
    lines = []
    for entry in entries:
        own = {"case": entry.name, "backend": entry.backend, "path": entry.path, "seed": entry.seed}
        for row in entry.rows:
            texts = {name: str(getattr(row, name)) for name in ("check", "verdict")}
            places = {name: place_text(getattr(row, name)) for name in ("worst", "first")}
            numbers = {name: getattr(row, name) for name in ROW_FIELDS}
            for name, each in examples:
                numbers[f"{name}_{each}"] = getattr(getattr(row, f"{name}_number"), each, None)
            lines.append({**own, **numbers, **texts, **places, "shape": shape_text(row.shape)})
    of_examples = (f"{name}_{each}" for name, each in examples)
    return pandas.DataFrame(lines, columns=["case", *ways, "seed", *ROW_FIELDS, *of_examples])


def _arrival_fields(arrival: Arrival) -> dict[str, Any]:
    return {name: getattr(arrival, name) for name in ("layer", "weight", "shape", "how", "form", "held_in")}


def _row_fields(row: Row) -> dict[str, Any]:
    numbers = {name: getattr(row, f"{name}_number") for name in _NUMBERS}
    examples = {
        name: {"place": number.place, **{each: getattr(number, each) for each in _NUMBER_FIELDS}}
        for name, number in numbers.items()
        if number is not None
    }
    return {**{name: getattr(row, name) for name in ROW_FIELDS}, "examples": examples}


def count_cases(count: int) -> str:
    """Return `1 case` or `7 cases`."""
    return "1 case" if count == 1 else f"{count} cases"


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as JSON has them; numbers that are not finite become strings."""
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, str):  # of which enumerations are
        return str(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return plain_values(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as people read it: `2x5x4`."""
    return "x".join(map(str, shape))
