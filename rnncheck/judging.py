"""From what was recorded to rows with a verdict, and what lies behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rnncheck import kernels
from rnncheck.comparator import Check, Row, Verdict, failed_row, worst
from rnncheck.end_to_end import Tolerance, end_to_end_rows
from rnncheck.faults import FAULTS
from rnncheck.formats import in_format, own_format
from rnncheck.insight import FormatQuestion, Insight
from rnncheck.network import Network
from rnncheck.observed import disagreements, largest_layer, observe
from rnncheck.parallel import threads
from rnncheck.paths import PATHS
from rnncheck.recording import Recording
from rnncheck.relations import Related
from rnncheck.steps import all_steps_match, step_rows, unseen
from rnncheck.tasks import ONCE, Answer, How


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
    with threads() as mapper, kernels.loaded_for(largest_layer(network, recordings)):
        calls = observe(network, recordings)
        steps = step_rows(network, calls, mapper)
        notes = disagreements(network, calls)
        vouched = all_steps_match(network, steps) and not notes
        hidden = unseen(network, calls)
        ends = end_to_end_rows(
            network,
            recordings,
            mapper,
            steps_checked=vouched,
            tolerance=tolerance,
            related=tried,
            sequences=hidden,
        )
    failed = [_failed(network.name, problem, name) for name, problem in problems.items() if problem]
    rows = (*steps, *(row for row in ends if row.check not in tried), *(row for row in ends if row.check in tried))
    left_out = (f"`{each.name}` was not tried: {each.not_applicable}" for each in related if each.not_applicable)
    return (*rows, *failed), (*notes, *map(_held_as_a_whole, hidden), *left_out)


def _held_as_a_whole(layer: str) -> str:
    """Say why recorded states have no step check."""
    return (
        f"layer {layer!r}: its states were recorded, but not all that its steps start from; they are held "
        "against the equations' own run, not step by step."
    )


def of_the_equations(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows that hold numbers against the equations, not one run against another."""
    return tuple(row for row in rows if row.check in set(Check))


@dataclass(frozen=True)
class Judged:
    """What came of one path: the rows of a report's entry, and what must be known besides.

    Attributes:
        rows: the comparisons.
        notes: what they rest on, and what was not run.
        path: the name of the path; empty where nobody asked for paths.
        insight: what lies behind the rows; None where nothing could be compared.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    path: str = ""
    insight: Insight | None = None


def judged(given: Answer, name: str, tolerance: Tolerance | None, how: How) -> Iterator[Judged]:
    """Yield what came of each path that was run; one row that says why where nothing was."""
    missing = [f"path `{run.path}` was not run: {run.not_applicable}" for run in given.runs if run.not_applicable]
    runs = [run for run in given.runs if not run.not_applicable]
    if given.network is None or not runs:
        yield Judged((_failed(name, given.error or "; ".join(missing)),))
        return
    for run in runs:
        network = _on_path(given.network, run.path)
        path = run.path if how.paths != ONCE.paths else ""
        notes = tuple(missing)
        if run.error:
            yield Judged((_failed(name, run.error),), notes, path)
            continue
        rows, said = check(network, run.recordings, tolerance, run.related)
        insight = _insight(network, run.recordings, of_the_equations(rows))
        yield Judged(rows, (*notes, *said), path, insight)


def _on_path(network: Network, path: str) -> Network:
    """Return what is expected on a path: its products may have another format than the model says."""
    name = PATHS[path].format
    return in_format(network, name) if name else network


def _failed(name: str, detail: str, check: str = Check.END_TO_END) -> Row:
    return failed_row(layer=name, output="all", check=check, shape=(), detail=detail)


def _other_form(recordings: Sequence[Recording], related: Related) -> str:
    """Say where a further run gave other shapes than the plain one; empty where it did not, or gave none."""
    if not related.outputs:
        return ""
    for plain, others in zip(recordings, related.outputs, strict=True):
        came, expected = ([array.shape for array in arrays] for arrays in (others, plain.outputs))
        if came != expected:
            return f"outputs of shapes {came} came; expected {expected}, as in the plain run"
    return ""


def _insight(network: Network, recordings: Sequence[Recording], rows: Sequence[Row]) -> Insight:
    """Return what lies behind the rows of a run in Keras; what it computed in is asked where it does not match."""
    asked = FormatQuestion(network, own_format(network)) if worst(rows) is Verdict.MISMATCH else None
    return Insight(network, recordings, rows, FAULTS, asked)
