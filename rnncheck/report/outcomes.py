"""The results of a self-test, as data; `rnncheck.jobs.self_test` runs it, `rnncheck.report.tables` shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rnncheck.checks.verdicts import FAILED, Check, Row
from rnncheck.report.entry import SCHEMA, plain_values


@dataclass(frozen=True)
class Outcome:
    """The result of one fault."""

    fault: str  # its name
    group: str  # its class
    summary: str  # what it does
    caught: bool = False
    check: str = ""  # the check that caught it, `step` or `end_to_end`
    layer: str = ""  # the layer that it was in
    margin: float = 0.0  # the largest score there, as a multiple of the limit
    case: str = ""  # the smallest case that shows it; empty if none does
    hidden: int = 0  # in how many smaller places it was tried and did not show


@dataclass(frozen=True)
class Control:
    """Correct runs of one kind, none of which may be flagged."""

    name: str
    summary: str  # what is different about them
    runs: int = 0
    alarms: tuple[str, ...] = ()  # the cases that were flagged
    score_max: float = 0.0  # the largest score of a step

    def after(self, case: str, rows: Sequence[Row]) -> Control:
        """Return the control after one more run."""
        flagged = (*self.alarms, case) if any(row.verdict in FAILED for row in rows) else self.alarms
        scores = [row.score_max for row in rows if row.check is Check.STEP]
        return replace(self, runs=self.runs + 1, alarms=flagged, score_max=max([self.score_max, *scores]))


@dataclass(frozen=True)
class SelfTest:
    """What the self-test found."""

    outcomes: tuple[Outcome, ...] = ()  # one for each fault
    controls: tuple[Control, ...] = ()  # one for each kind of correct run

    @property
    def passed(self) -> bool:
        """Whether every fault was caught and no correct run was flagged."""
        return not self.complaints

    @property
    def complaints(self) -> list[str]:
        """What went wrong, in words."""
        missed = [f"missed: {outcome.fault}: no case shows it" for outcome in self.outcomes if not outcome.caught]
        return missed + [f"false alarm: {each.name}: {case}" for each in self.controls for case in each.alarms]

    def to_dict(self, environment: Mapping[str, str]) -> dict[str, Any]:
        """Return the results as JSON has them."""
        return {
            "schema": SCHEMA,
            "environment": dict(environment),
            "passed": self.passed,
            "faults": [plain_values(vars(outcome)) for outcome in self.outcomes],
            "controls": [plain_values(vars(control)) for control in self.controls],
        }
