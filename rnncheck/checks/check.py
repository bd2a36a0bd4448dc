"""From what was recorded to rows with a verdict, and what lies behind them."""

from __future__ import annotations

from collections.abc import Sequence

from rnncheck.checks.end_to_end import Tolerance, end_to_end_rows
from rnncheck.checks.observed import disagreements, observe
from rnncheck.checks.relations import Related
from rnncheck.checks.steps import all_steps_match, step_rows, unseen
from rnncheck.checks.verdicts import Row, failed_row
from rnncheck.network import Network, Recording


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
    ends = end_to_end_rows(
        network, recordings, steps_checked=vouched, tolerance=tolerance, related=tried, sequences=hidden
    )
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


def _other_form(recordings: Sequence[Recording], related: Related) -> str:
    # Where a further run gave other shapes than the plain one; empty where it did not, or gave none.
    if not related.outputs:
        return ""
    for plain, others in zip(recordings, related.outputs, strict=True):
        got, expected = ([array.shape for array in arrays] for arrays in (others, plain.outputs))
        if got != expected:
            return f"got outputs of shapes {got}; expected {expected}, as in the plain run"
    return ""
