"""From what a comparison saw to a row with a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from rnncheck.checks.blocks import Place, in_time, place_text
from rnncheck.checks.scores import Number, Summary
from rnncheck.checks.thresholds import AVERAGE_COUNT, AVERAGE_LIMIT, SCORE_LIMIT


class Verdict(StrEnum):
    """What a row or a report says; see the README, "How to read the table"."""

    MATCH = "match"
    UNDECIDABLE = "undecidable"
    ERROR = "error"
    MISMATCH = "mismatch"

    @property
    def severity(self) -> int:
        """How bad it is: the worst verdict of several is the one with the highest severity."""
        return list(Verdict).index(self)


class Check(StrEnum):
    """What a row compares; a metamorphic relation goes by its own name."""

    STEP = "step"  # each step, or each layer, from what the implementation itself had before it
    END_TO_END = "end_to_end"  # outputs of the whole run against the replay's own run
    TOLERANCE = "tolerance"  # the same, with the --rtol and --atol that somebody asked for


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        layer: the layer that produced the numbers.
        output: which of its numbers: `h` (the state after every step), `output` or `state` (the final one).
        check: what was compared: one of `Check`, or the name of a metamorphic relation.
        shape: the shape of what was compared; with several calls, their number comes first.
        max_abs_diff: the largest |actual - expected|.
        noise: the root mean square of the difference that rounding typically makes.
        score_max: the largest |difference|/noise.
        score_rms: the root mean square of |difference|/noise.
        bound_use: the largest |difference|/bound; above 1 nothing but a fault explains it. None where no bound
            is given.
        worst_number: the number with score_max.
        first_number: the earliest one that rounding does not explain; None when nothing failed.
        verdict: match, mismatch, undecidable or error.
        proven: whether a mismatch is proven, by a bound exceeded or by NaN or infinity where a finite number is
            expected.
        decides: whether the overall verdict counts this row. An end-to-end row that is undecidable does not
            when every step on the way to that output was checked.
        detail: why a row is an error or undecidable, or that NaN appeared, in words; empty otherwise.
        unjudged: how many numbers cannot be judged, because rounding may move them as far as a fault would.
    """

    layer: str
    output: str
    check: str
    shape: tuple[int, ...]
    max_abs_diff: float
    noise: float
    score_max: float
    score_rms: float
    bound_use: float | None
    worst_number: Number | None
    first_number: Number | None
    verdict: Verdict
    proven: bool = False
    decides: bool = True
    detail: str = ""
    unjudged: int = 0

    @property
    def worst(self) -> Place | None:
        """Where score_max is, by name (call, n, t, unit)."""
        return self.worst_number.place if self.worst_number else None

    @property
    def first(self) -> Place | None:
        """The earliest place that rounding does not explain; None when nothing failed."""
        return self.first_number.place if self.first_number else None


def judge(
    summary: Summary,
    *,
    layer: str,
    output: str,
    check: str,
    shape: tuple[int, ...],
    steps_checked: bool = False,
) -> Row:
    """Turn what a comparison saw in all blocks into a row with a verdict.

    `steps_checked` says whether each step on the way to these numbers has a row of its own, and matches.
    """
    proven = summary.unmatched or (summary.bound_use or 0.0) > 1.0
    of_runs = check not in set(Check)  # two runs of the implementation, which may agree where no other can be told
    unjudged, first_unjudged = summary.unjudged(whole_run=of_runs or check == Check.END_TO_END)
    if of_runs and summary.max_abs_diff == 0.0 and not summary.unexpected:
        unjudged = 0
    verdict = _verdict(summary, check, proven=proven, unjudged=unjudged)
    if verdict is Verdict.MISMATCH and check is Check.END_TO_END and steps_checked and not proven:
        verdict = Verdict.UNDECIDABLE  # every step is right, so that errors must have lined up
    return Row(
        layer=layer,
        output=output,
        check=check,
        shape=shape,
        max_abs_diff=summary.max_abs_diff,
        noise=summary.noise,
        score_max=summary.score_max,
        score_rms=summary.score_rms,
        bound_use=summary.bound_use,
        worst_number=summary.worst,
        first_number=(summary.first or summary.worst) if verdict in FAILED else None,
        verdict=verdict,
        proven=proven and verdict is Verdict.MISMATCH and check is not Check.TOLERANCE,
        decides=not (verdict is Verdict.UNDECIDABLE and steps_checked),
        detail=_detail(summary, verdict, check, unjudged, first_unjudged),
        unjudged=unjudged,
    )


FAILED = (Verdict.MISMATCH, Verdict.ERROR)


def _detail(summary: Summary, verdict: Verdict, check: str, unjudged: int, first: Place | None) -> str:
    # What the numbers of a row cannot say.
    if verdict is Verdict.ERROR:
        before = ", from what was recorded before it" if check == Check.STEP else ""
        return f"the equations give no finite number there{before}"
    if verdict is Verdict.MISMATCH and summary.unmatched:
        return "got NaN or infinity; expected a finite number"
    if verdict is Verdict.UNDECIDABLE:
        if not unjudged:
            return "the differences are larger than independent rounding errors add up to; those of a run may line up"
        of_step = "something on the way is too large for the format, so that nobody knows what rounding does there"
        why = of_step if check == Check.STEP else "on the way to them, rounding errors grow too large"
        return f"{unjudged} of {summary.count} numbers, the first at {place_text(first)}, cannot be judged: {why}"
    return ""


def _verdict(summary: Summary, check: str, *, proven: bool, unjudged: int) -> Verdict:
    if summary.unexpected and not summary.unmatched:
        return Verdict.ERROR
    # Many scores that are all a little too high tell as much as one that is far too high.
    on_average = check == Check.STEP and summary.count >= AVERAGE_COUNT and summary.score_rms > AVERAGE_LIMIT
    if proven or on_average or summary.score_max > SCORE_LIMIT:
        return Verdict.MISMATCH
    return Verdict.UNDECIDABLE if unjudged else Verdict.MATCH


def failed_row(layer: str, detail: str, check: str = Check.END_TO_END) -> Row:
    """Return the row of something that could not be compared at all."""
    nothing = Summary(max_abs_diff=math.nan, score_max=math.nan)
    row = judge(nothing, layer=layer, output="all", check=check, shape=())
    return replace(row, verdict=Verdict.ERROR, score_rms=math.nan, noise=math.nan, detail=detail)


def keyed_failures(rows: Iterable[Row]) -> list[tuple[tuple[Any, ...], Row]]:
    """Return the rows of a run that failed, each with a key that sorts them: step checks first, then by place.

    A layer without time steps sorts after the failures before it.
    """
    failed, latest = [], -1
    for row in rows:
        if row.verdict in FAILED:
            place = {"t": latest, **(row.first or {})}
            latest = max(latest, place["t"])
            call, t, *rest = in_time(place)
            failed.append(((row.check != "step", call, t, "t" not in (row.first or {}), *rest), row))
    return failed


def worst(rows: Iterable[Row]) -> Verdict:
    """Return the worst verdict of the rows that decide; `error` when there is no such row."""
    verdicts = [row.verdict for row in rows if row.decides]
    return max(verdicts, key=lambda verdict: verdict.severity, default=Verdict.ERROR)
