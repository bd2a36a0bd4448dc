"""A report: what a run found. It is data; `rnncheck.report.tables` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from rnncheck.checks.verdicts import Row, Verdict
from rnncheck.errors import InputError, RnncheckError
from rnncheck.report.entry import SCHEMA, Difference, Entry, failures_of, frame_of, ways_of, worst_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

EXIT_CODES = {Verdict.MATCH: 0, Verdict.MISMATCH: 1, Verdict.ERROR: 2, Verdict.UNDECIDABLE: 3}


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
        return worst_of(self.entries)

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
        return ways_of(self.entries, "backend")

    @property
    def paths(self) -> tuple[str, ...]:
        """The compute paths that ran; none unless paths were asked for."""
        return ways_of(self.entries, "path")

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all entries."""
        return tuple(row for entry in self.entries for row in entry.rows)

    def failures(self) -> list[tuple[Entry, Row]]:
        """Return the rows that failed, step checks first, then by the earliest place."""
        return failures_of(self.entries)

    def raise_for_mismatch(self) -> None:
        """Raise unless everything matches.

        Raises:
            MismatchError: the verdict is not `match`; its message is the report as text, whose first line is a whole
                answer, and its `report` is this report.
            UndecidableError: a MismatchError, where the verdict is `undecidable`.
        """
        __tracebackhide__ = True  # pytest shows the line of the test that asked
        if self.verdict is not Verdict.MATCH:
            raise (UndecidableError if self.verdict is Verdict.UNDECIDABLE else MismatchError)(str(self), self)

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
        return frame_of(self.entries)

    # What shows a report is loaded only when somebody looks.
    def plot(self, picture: str | None = None, entry: int | None = None) -> Figure:
        """Draw an entry, with the extra `plot`.

        Args:
            picture: one of `errors` (at each step, of the whole run and of the step alone, with the limit), `scores`
                (a heat map), `numbers` (expected and got), `states` (one unit over time) and `gates` (at the first
                wrong step); None for all that there are.
            entry: its index; None for the first that failed, or the first one.

        Returns:
            A matplotlib figure.

        Raises:
            InputError: matplotlib is not installed, there is no such picture or entry, or nothing to draw.
        """
        require_plot("plot")
        from rnncheck.report.plot import plot

        if not self.entries:
            raise InputError("plot: got a report of nothing; expected an entry to draw.")
        if entry is not None and not 0 <= entry < len(self.entries):
            raise InputError(f"entry: got {entry}; expected a number from 0 to {len(self.entries) - 1}.")
        failed = [each for each, _ in self.failures()]
        return plot((failed or self.entries)[0] if entry is None else self.entries[entry], picture)

    def to_html(self, command: str = "") -> str:
        """Return the report as a page that needs no other file, with the extra `plot`; it shows the command.

        Raises:
            InputError: matplotlib or Jinja2 is not installed.
        """
        require_plot("to_html")
        from rnncheck.report.page import to_page

        return to_page(
            self.entries,
            self.differences,
            environment=self.environment,
            interrupted=self.interrupted,
            command=command,
        )

    def _repr_html_(self) -> str:
        from rnncheck.report.page import to_cell

        return to_cell(self.entries, self.differences, interrupted=self.interrupted)

    def __str__(self) -> str:
        from rnncheck.report.tables import to_text

        return to_text(self.entries, self.differences, interrupted=self.interrupted)


def require_plot(whom: str) -> None:
    """See that what pages and pictures need is installed."""
    for module, name in (("matplotlib", "matplotlib"), ("jinja2", "Jinja2")):
        if find_spec(module) is None:
            raise InputError(
                f"{whom}: got no {name} here; expected the packages of the extra `plot`. "
                'Run: pip install "rnncheck[plot]"'
            )


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


class UndecidableError(MismatchError):
    """A comparison could not tell right from wrong."""


# As tracebacks and pytest call them.
MismatchError.__module__ = UndecidableError.__module__ = "rnncheck"
