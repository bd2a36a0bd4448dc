"""What lies behind the rows of a report, found out when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rnncheck.checks.observed import largest_layer
from rnncheck.checks.steps import Mapper
from rnncheck.checks.threads import threads
from rnncheck.checks.verdicts import Row, Verdict, worst
from rnncheck.equations.formats import FORMATS
from rnncheck.faults.blind_spots import BlindSpot, blind_spots
from rnncheck.faults.catalogue.fault import Fault
from rnncheck.faults.diagnosis import Diagnosis, diagnose, likely_format
from rnncheck.network import Network, Recording
from rnncheck.rounding import loops as kernels


@dataclass(frozen=True)
class FormatQuestion:
    """The question what a program computed in.

    Attributes:
        network: the equations, in the precision that the model says.
        stated: what it is said to compute in.
    """

    network: Network
    stated: str


@dataclass(frozen=True)
class FormatFound:
    """What a program computed in, as far as its numbers tell.

    Attributes:
        stated: what it is said to compute in.
        consistent_with: the finest of `equations.formats.FORMATS` that explains its numbers; None where none does.
    """

    stated: str
    consistent_with: str | None

    def __str__(self) -> str:
        if self.consistent_with is None:
            return "consistent with no known one"
        found = f"consistent with {FORMATS[self.consistent_with].summary}"
        return found if self.consistent_with == self.stated else f"{found}; {self.stated} was expected"


@dataclass(frozen=True)
class FoundOut:
    """What lies behind the rows of a run, as `Insight` has found it out."""

    diagnosis: Diagnosis | None
    precision: FormatFound | None
    blind_spots: tuple[BlindSpot, ...]


class Insight:
    """Why a run does not match, or what it could not have shown."""

    def __init__(
        self,
        network: Network,
        recordings: Sequence[Recording],
        rows: Sequence[Row],
        faults: Sequence[Fault],
        asked: FormatQuestion | None = None,
    ) -> None:
        """Keep what it takes to find out.

        Args:
            network: the equations.
            recordings: the run, one recording for each call.
            rows: what the checks said of it.
            faults: the catalogue.
            asked: whether what it computed in is to be found out too.
        """
        self._asked = asked
        self._network = network
        self._recordings = recordings
        self._rows = rows
        self._faults = faults

    @cached_property
    def diagnosis(self) -> Diagnosis | None:
        """Why the run does not match; None where it does."""
        with self._working() as mapper:
            return diagnose(self._network, self._recordings, self._rows, self._faults, mapper)

    @cached_property
    def precision(self) -> FormatFound | None:
        """What the run was computed in; None where nobody asks, or where its errors cannot be judged."""
        if self._asked is None or worst(self._rows) not in {Verdict.MATCH, Verdict.MISMATCH}:
            return None
        with self._working() as mapper:
            found = likely_format(self._asked.network, self._recordings, mapper)
        return FormatFound(self._asked.stated, found)

    @cached_property
    def blind_spots(self) -> tuple[BlindSpot, ...]:
        """The faults that a run which matches could not have shown; none where it does not match."""
        if worst(self._rows) is not Verdict.MATCH:
            return ()
        with self._working() as mapper:
            return blind_spots(self._network, self._recordings, self._faults, mapper)

    def __reduce__(self) -> tuple[type[FoundOut], tuple[Any, ...]]:
        """Find everything out before another process gets it: equations are functions, which do not travel."""
        return FoundOut, (self.diagnosis, self.precision, self.blind_spots)

    @contextmanager
    def _working(self) -> Iterator[Mapper]:
        with threads() as mapper, kernels.loaded_for(largest_layer(self._network, self._recordings)):
            yield mapper
