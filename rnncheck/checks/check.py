"""From what was recorded to rows with a verdict, and what lies behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from rnncheck.checks.end_to_end import Tolerance, end_to_end_rows
from rnncheck.checks.observed import disagreements, observe
from rnncheck.checks.relations import Related
from rnncheck.checks.steps import all_steps_match, step_rows, unseen
from rnncheck.checks.verdicts import Check, Row, Verdict, failed_row
from rnncheck.network import Network, Recording

_LINED_UP = (
    "the differences are larger than independent rounding errors add up to, but no larger than those of correct code "
    "whose errors all lean one way; record the states, so that every step can be checked"
)


def check(
    network: Network,
    recordings: Sequence[Recording],
    tolerance: Tolerance | None = None,
    related: Sequence[Related] = (),
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Run all checks on what was recorded.

    Args:
        network: the equations.
        recordings: what the implementation produced, one for each call in a row.
        tolerance: a limit to check besides.
        related: what became of the metamorphic relations.

    Returns:
        The rows, those of the relations last, and notes on what they rest on and what could not be tried.

    Raises:
        InputError: an Embedding inside the model was given an id that it does not have.
    """
    problems = {each.name: each.error or _other_form(recordings, each) for each in related}
    tried = {each.name: each.outputs for each in related if each.outputs and not problems[each.name]}
    calls = observe(network, recordings)
    steps = step_rows(network, calls)
    notes = disagreements(network, calls)
    # Errors of a whole run may line up beyond its noise; that is excused where every step on the way is right.
    vouched = all_steps_match(network, steps) and not notes
    hidden = unseen(network, calls)
    compare_ends = partial(end_to_end_rows, network, recordings, related=tried, sequences=hidden)
    ends = compare_ends(steps_checked=vouched, tolerance=tolerance)
    if any(map(_may_have_lined_up, ends)):
        wide = {(row.layer, row.output, row.check): row for row in compare_ends(may_line_up=True)}
        ends = [_unless_lined_up(row, wide) for row in ends]
    failed = [failed_row(network.name, problem, name) for name, problem in problems.items() if problem]
    # What the equations say stands before what runs say of each other.
    rows = (*steps, *(row for row in ends if row.check not in tried), *(row for row in ends if row.check in tried))
    left_out = (f"`{each.name}` was not tried: {each.not_applicable}" for each in related if each.not_applicable)
    as_a_whole = (
        f"layer {layer!r}: its states were recorded, but not all that its steps start from; they are held "
        "against the equations' own run, not step by step."
        for layer in hidden
    )
    return (*rows, *failed), (*notes, *as_a_whole, *left_out)


def _may_have_lined_up(row: Row) -> bool:
    return row.verdict is Verdict.MISMATCH and not row.proven and row.check != Check.TOLERANCE


def _unless_lined_up(row: Row, wide: Mapping[tuple[str, str, str], Row]) -> Row:
    # A row of a whole run, whose mismatch is undecidable where errors that line up explain it; `wide` has the rows
    # that allow for them.
    if not _may_have_lined_up(row) or wide[row.layer, row.output, row.check].verdict is Verdict.MISMATCH:
        return row
    return replace(row, verdict=Verdict.UNDECIDABLE, first_number=None, detail=_LINED_UP)


def _other_form(recordings: Sequence[Recording], related: Related) -> str:
    # Where a further run gave other shapes than the plain one; empty where it did not, or gave none.
    if not related.outputs:
        return ""
    for plain, others in zip(recordings, related.outputs, strict=True):
        got, expected = ([array.shape for array in arrays] for arrays in (others, plain.outputs))
        if got != expected:
            return f"got outputs of shapes {got}; expected {expected}, as in the plain run"
    return ""
