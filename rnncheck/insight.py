"""What lies behind the rows of a report, found out when somebody asks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from rnncheck.comparator import Row, Verdict, worst
from rnncheck.faults.blind_spots import BlindSpot, blind_spots
from rnncheck.faults.diagnosis import Diagnosis, diagnose
from rnncheck.faults.fault import Fault
from rnncheck.network import Network
from rnncheck.parallel import threads
from rnncheck.recording import Recording


class Insight:
    """Why a run does not match, or what it could not have shown."""

    def __init__(
        self, network: Network, recordings: Sequence[Recording], rows: Sequence[Row], faults: Sequence[Fault]
    ) -> None:
        """Keep what it takes to find out.

        Args:
            network: the equations.
            recordings: the run, one recording for each call.
            rows: what the checks said of it.
            faults: the catalogue.
        """
        self._network = network
        self._recordings = recordings
        self._rows = rows
        self._faults = faults

    @cached_property
    def diagnosis(self) -> Diagnosis | None:
        """Why the run does not match; None where it does."""
        with threads() as mapper:
            return diagnose(self._network, self._recordings, self._rows, self._faults, mapper)

    @cached_property
    def blind_spots(self) -> tuple[BlindSpot, ...]:
        """The faults that a run which matches could not have shown; none where it does not match."""
        if worst(self._rows) is not Verdict.MATCH:
            return ()
        with threads() as mapper:
            return blind_spots(self._network, self._recordings, self._faults, mapper)
