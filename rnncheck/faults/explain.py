"""Why a run does not match, and what a run that matches could not have shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from rnncheck.checks.verdicts import Row, Verdict, worst
from rnncheck.equations.formats import FORMATS
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.diagnosis import Diagnosis, diagnose, likely_format
from rnncheck.faults.trial import BlindSpot, Recordings, blind_spots
from rnncheck.network import Network


@dataclass(frozen=True)
class FormatFound:
    """What a program computed in, as far as its numbers tell."""

    stated: str  # what it is said to compute in
    consistent_with: str | None  # the finest of `FORMATS` that explains its numbers; None if none does

    def __str__(self) -> str:
        if self.consistent_with is None:
            return "consistent with no known one"
        found = f"consistent with {FORMATS[self.consistent_with].summary}"
        return found if self.consistent_with == self.stated else f"{found}; {self.stated} was expected"


class Reasons(NamedTuple):
    """What lies behind the rows of a run."""

    diagnosis: Diagnosis | None = None  # why the run does not match; None if it does
    blind_spots: tuple[BlindSpot, ...] = ()  # what a run which matches could not have shown; empty if nobody asked
    precision: FormatFound | None = None  # None if nobody asked, or if the run's errors cannot be judged


def explain(
    network: Network,
    recordings: Recordings,
    rows: Sequence[Row],
    *,
    stated: str = "",  # the format that the run is said to be computed in; empty to search for no other
    unchanged: Network | None = None,  # the equations as read, if `network` is what a format makes of them
    with_blind_spots: bool = False,
) -> Reasons:
    """Search for the reasons behind a run's rows, which hold it against the network.

    A mismatch is diagnosed. This costs a few comparisons for each fault of the catalogue, and so do blind spots.
    """
    verdict = worst(rows)
    diagnosis = diagnose(network, recordings, rows, FAULTS)
    spots = blind_spots(network, recordings, FAULTS) if with_blind_spots and verdict is Verdict.MATCH else ()
    precision = None
    if stated and diagnosis is not None and _explained(diagnosis):
        precision = FormatFound(stated, None)
    elif stated and verdict in {Verdict.MATCH, Verdict.MISMATCH}:
        changed = unchanged is not None and unchanged is not network
        known = {stated: rows} if changed or all(layer.dtype == stated for layer in network.layers) else {}
        precision = FormatFound(stated, likely_format(unchanged or network, recordings, stated, known))
        if diagnosis is not None and precision.consistent_with not in {None, stated}:
            # A format of its own is simpler than two faults.
            simple = tuple(each for each in diagnosis.explanations if len(set(each.faults)) == 1)
            diagnosis = replace(diagnosis, explanations=simple)
    return Reasons(diagnosis, spots, precision)


def _explained(diagnosis: Diagnosis) -> bool:
    # Whether something else than a coarse format explains a run.
    of_formats = {fault.name for fault in FAULTS if fault.group == "precision"}
    return bool(diagnosis.weights) or any(not of_formats & set(each.faults) for each in diagnosis.explanations)
