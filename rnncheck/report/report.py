"""A report: what was compared, and the results. It is data; `rnncheck.report.tables` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rnncheck.checks.blocks import in_time
from rnncheck.checks.verdicts import FAILED, Row, Verdict, worst
from rnncheck.errors import RnncheckError
from rnncheck.report.values import ROW_FIELDS, SCHEMA, flat_row, plain_values, row_to_dict

if TYPE_CHECKING:
    import pandas

    from rnncheck.faults.diagnosis import Diagnosis
    from rnncheck.faults.explain import FormatFound
    from rnncheck.faults.trial import BlindSpot

EXIT_CODES = {Verdict.MATCH: 0, Verdict.MISMATCH: 1, Verdict.ERROR: 2, Verdict.UNDECIDABLE: 3}


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
        diagnosis: why it does not match; None if it does.
        blind_spots: the faults that a run which matches could not have shown; empty if nobody asked.
        precision: what it was computed in, as far as its numbers tell; None if nobody asked.
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
    diagnosis: Diagnosis | None = None
    blind_spots: tuple[BlindSpot, ...] = ()
    precision: FormatFound | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the rows that decide."""
        return worst(self.rows)

    @property
    def proven(self) -> bool:
        """Whether some mismatch is proven."""
        return any(row.proven for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON has it."""
        what = {"model": self.model} if self.case is None else {"case": plain_values(self.case)}
        return {
            **what,
            **({"backend": self.backend} if self.backend else {}),
            **({"path": self.path} if self.path else {}),
            "seed": self.seed,
            "verdict": str(self.verdict),
            "proven": self.proven,
            "rows": [row_to_dict(row) for row in self.rows],
            "notes": list(self.notes),
            "diagnosis": None if self.diagnosis is None else asdict(self.diagnosis),
            "blind_spots": [asdict(spot) for spot in self.blind_spots],
            **({} if self.precision is None else {"precision": asdict(self.precision)}),
        }


@dataclass(frozen=True)
class Difference:
    """How far the same run on two backends differs.

    Attributes:
        case: the name of what was run.
        backends: the two.
        max_abs_diff: the largest difference between their outputs.
        path: the compute path; empty unless paths were asked for.
    """

    case: str
    backends: tuple[str, str]
    max_abs_diff: float
    path: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as JSON has it."""
        return plain_values({name: value for name, value in asdict(self).items() if value or name != "path"})


@dataclass(frozen=True)
class Report:
    """What a run found.

    Attributes:
        environment: versions, backend, device, platform.
        entries: the cases or models, in the order in which they ran.
        interrupted: whether the run was stopped before its end.
        differences: between each two backends that ran the same.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()
    interrupted: bool = False
    differences: tuple[Difference, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all entries."""
        verdicts = [entry.verdict for entry in self.entries]
        return max(verdicts, key=lambda verdict: verdict.severity, default=Verdict.ERROR)

    @property
    def proven(self) -> bool:
        """Whether some mismatch is proven."""
        return any(entry.proven for entry in self.entries)

    @property
    def exit_code(self) -> int:
        """0 match, 1 mismatch, 2 error, 3 undecidable."""
        return EXIT_CODES[self.verdict]

    @property
    def backends(self) -> tuple[str, ...]:
        """The backends that ran; none unless backends were asked for."""
        return tuple(dict.fromkeys(entry.backend for entry in self.entries if entry.backend))

    @property
    def paths(self) -> tuple[str, ...]:
        """The compute paths that ran; none unless paths were asked for."""
        return tuple(dict.fromkeys(entry.path for entry in self.entries if entry.path))

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all entries."""
        return tuple(row for entry in self.entries for row in entry.rows)

    def failures(self) -> list[tuple[Entry, Row]]:
        """Return the rows that failed, step checks first, then by the earliest place.

        A layer without time steps sorts after the failures before it.
        """
        failed = []
        for entry in self.entries:
            latest = -1
            for row in entry.rows:
                if row.verdict in FAILED:
                    place = {"t": latest, **(row.first or {})}
                    latest = max(latest, place["t"])
                    call, t, *rest = in_time(place)
                    key = (row.check != "step", call, t, "t" not in (row.first or {}), *rest)
                    failed.append((key, entry, row))
        return [(entry, row) for _, entry, row in sorted(failed, key=lambda each: each[0])]

    def raise_for_mismatch(self) -> None:
        """Raise unless everything matches.

        Raises:
            MismatchError: the verdict is not `match`; its message is the table, its `report` is this report.
        """
        __tracebackhide__ = True  # pytest shows the line of the test that asked
        if self.verdict is not Verdict.MATCH:
            from rnncheck.report.tables import to_text

            raise MismatchError(to_text(self), self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON has it; numbers that are not finite are strings."""
        return {
            "schema": SCHEMA,
            "environment": dict(self.environment),
            "verdict": str(self.verdict),
            "proven": self.proven,
            "cases": [entry.to_dict() for entry in self.entries],
            **({"backend_differences": [each.to_dict() for each in self.differences]} if self.differences else {}),
        }

    def to_frame(self) -> pandas.DataFrame:
        """Return one line for each row, as a pandas DataFrame."""
        import pandas

        ways = [*(["backend"] if self.backends else []), *(["path"] if self.paths else [])]
        columns = ["case", *ways, "seed", *ROW_FIELDS]
        lines = [
            {"case": entry.name, "backend": entry.backend, "path": entry.path, "seed": entry.seed, **flat_row(row)}
            for entry in self.entries
            for row in entry.rows
        ]
        return pandas.DataFrame(lines, columns=columns)

    def _repr_html_(self) -> str:
        from rnncheck.report.tables import to_html

        return to_html(self)

    def __str__(self) -> str:
        from rnncheck.report.tables import to_text

        return to_text(self)


class MismatchError(RnncheckError, AssertionError):
    """A comparison did not end in `match`.

    Attributes:
        report: the whole `Report`, so that nobody has to parse the message.
    """

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> tuple[type[MismatchError], tuple[str, Report]]:
        """Keep the report on the way to another process."""
        return type(self), (str(self), self.report)
