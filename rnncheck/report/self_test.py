"""The results of a self-test, as data; `rnncheck.jobs.self_test` runs it, `rnncheck.report.tables` shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rnncheck.checks.verdicts import FAILED, Check, Row
from rnncheck.report.values import SCHEMA, plain_values


@dataclass(frozen=True)
class Outcome:
    """The result of one fault.

    Attributes:
        fault: its name.
        group: its class.
        summary: what it does.
        caught: whether some case showed it.
        check: the check that caught it, `step` or `end_to_end`; empty if none did.
        layer: the layer that it was in.
        margin: the largest score there, as a multiple of the limit.
        case: the smallest case that shows it; empty if none does.
        hidden: in how many smaller places it was tried and did not show.
    """

    fault: str
    group: str
    summary: str
    caught: bool = False
    check: str = ""
    layer: str = ""
    margin: float = 0.0
    case: str = ""
    hidden: int = 0


@dataclass(frozen=True)
class Control:
    """Correct runs of one kind, none of which may be flagged.

    Attributes:
        name: of the kind.
        summary: what is different about them.
        runs: how many there were.
        alarms: the cases that were flagged.
        score_max: the largest score of a step.
    """

    name: str
    summary: str
    runs: int = 0
    alarms: tuple[str, ...] = ()
    score_max: float = 0.0

    def after(self, case: str, rows: Sequence[Row]) -> Control:
        """Return the control after one more run."""
        flagged = (*self.alarms, case) if any(row.verdict in FAILED for row in rows) else self.alarms
        scores = [row.score_max for row in rows if row.check is Check.STEP]
        return replace(self, runs=self.runs + 1, alarms=flagged, score_max=max([self.score_max, *scores]))


@dataclass(frozen=True)
class SelfTest:
    """What the self-test found.

    Attributes:
        outcomes: one for each fault.
        controls: one for each kind of correct run.
    """

    outcomes: tuple[Outcome, ...] = ()
    controls: tuple[Control, ...] = ()

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
