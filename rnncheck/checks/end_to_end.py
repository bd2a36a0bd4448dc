"""The end-to-end check: the outputs of the whole run against the replay's own run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from numbers import Real
from types import MappingProxyType

import numpy as np

from rnncheck.checks.blocks import in_threads, sample_parts, whole_block, with_calls
from rnncheck.checks.expected import as_stored
from rnncheck.checks.lining_up import lined_up
from rnncheck.checks.scores import Summary, compare, total
from rnncheck.checks.thresholds import GROWTH_LIMIT
from rnncheck.checks.verdicts import Check, Row, judge
from rnncheck.equations.arithmetic import FREE_RUNNING, Analysis
from rnncheck.equations.cells import widest
from rnncheck.equations.operands import X
from rnncheck.equations.replay import States, replay
from rnncheck.errors import InputError
from rnncheck.network import Array, Network, Recording, Tensor
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.rounded import Rounded


@dataclass(frozen=True)
class Tolerance:
    """A limit that somebody asked for: |actual - expected| <= atol + rtol·|expected|."""

    rtol: float
    atol: float

    def around(self, expected: X) -> Rounded:
        """Return the expected values with the tolerance in the place of both noise and bound."""
        if not isinstance(expected, Rounded):  # what was copied, in no precision of its own
            expected = Rounded(expected, 0.0, 0.0, PRECISIONS["float64"])
        allowed = self.atol + self.rtol * np.abs(expected.value)
        allowed = np.where(np.isfinite(allowed), allowed, 0.0)  # NaN and infinities agree or do not
        return Rounded(expected.value, np.square(allowed), allowed, expected.precision)


@dataclass(frozen=True)
class _Comparison:
    """Something that the replay's own run is held against."""

    check: str  # what a row calls it
    outputs: Sequence[Sequence[Array]]  # what an implementation produced, by call, then by output
    # (what the equations give, what the plain run gave) -> what is expected, with the difference that is allowed.
    around: Callable[[X, Array], X]

    def unsure(self, growths: Array) -> Array:
        """Return the samples whose errors grew on the way beyond what noise tells; a tolerance needs no noise."""
        return (growths > GROWTH_LIMIT) & (self.check is not Check.TOLERANCE)


def end_to_end_rows(
    network: Network,
    recordings: Sequence[Recording],
    *,
    steps_checked: bool = False,
    tolerance: Tolerance | None = None,
    related: Mapping[str, Sequence[Sequence[Array]]] = MappingProxyType({}),
    sequences: Sequence[str] = (),
    may_line_up: bool = False,
) -> list[Row]:
    """Compare each output of the whole run with the replay's own run.

    Args:
        network: the equations.
        recordings: what the implementation produced, one for each call in a row.
        steps_checked: whether each step on the way to the outputs has a row that can be relied on.
        tolerance: a limit to check besides; it gives each output one more row.
        related: the outputs of further runs that must give the same, by the name of their relation; each gives each
            output one more row, held against what the implementation itself produced.
        sequences: recurrent layers whose recorded states are compared too, every step; each has a row, before those
            of the outputs. It is what can be said of states that are not known to be all that a step starts from.
        may_line_up: whether the errors of different steps may all lean one way.
    """
    samples = len(recordings[0].inputs[0])
    # Not cut where something in the network, such as a mask, belongs to particular samples.
    parts = [slice(0, samples)] if network.knows_samples else sample_parts(samples, widest(network))
    comparisons = list(comparisons_of(recordings, tolerance, related))

    def compare_some(part: slice) -> _Compared:
        extra = lined_up(network, recordings, part, sequences) if may_line_up else None
        (seen,) = compare_part(network, recordings, comparisons, FREE_RUNNING, part, sequences, extra)
        return seen

    compared = in_threads(compare_some, parts)
    of_sequences = [
        judge(
            total(seen.of_sequences[number] for seen in compared),
            layer=name,
            output="h",
            check=Check.END_TO_END,
            shape=with_calls(recordings[0].states[name].shape, len(recordings)),
        )
        for number, name in enumerate(sequences)
    ]
    return of_sequences + judged_outputs(network, recordings, comparisons, compared, steps_checked=steps_checked)


def judged_outputs(
    network: Network,
    recordings: Sequence[Recording],
    comparisons: Sequence[_Comparison],
    compared: Sequence[_Compared],
    *,
    steps_checked: bool,
) -> list[Row]:
    """Return a row for every output and comparison, given what was seen of each part of the samples."""
    return [
        judge(
            total(seen.summaries[number] for seen in compared),
            layer=tensor.layer,
            output=output_name(tensor),
            check=comparison.check,
            shape=with_calls(recordings[0].outputs[position].shape, len(recordings)),
            steps_checked=steps_checked,
        )
        for number, ((position, tensor), comparison) in enumerate(product(enumerate(network.outputs), comparisons))
    ]


def comparisons_of(
    recordings: Sequence[Recording], tolerance: Tolerance | None, related: Mapping[str, Sequence[Sequence[Array]]]
) -> Iterator[_Comparison]:
    """Yield what the replay is held against: the outputs, a tolerance, further runs."""
    outputs = [each.outputs for each in recordings]
    # Every output's row against the equations comes first, as `judged_outputs` numbers them.
    yield _Comparison(Check.END_TO_END, outputs, lambda expected, plain: expected)
    if tolerance is not None:
        yield _Comparison(Check.TOLERANCE, outputs, lambda expected, plain: tolerance.around(expected))
    for name, others in related.items():
        yield _Comparison(name, others, _of_another_run)


def _of_another_run(expected: X, plain: Array) -> X:
    # Both runs may be as far from the equations as rounding is: var(a - b) = 2·q², |a - b| <= 2·e.
    value = plain.astype(np.float64)
    if not isinstance(expected, Rounded):
        return value
    return expected.like(value, 2.0 * expected.variance, 2.0 * expected.bound if expected.bounded else None)


@dataclass(frozen=True)
class _Compared:
    """What was seen of some samples through all calls."""

    summaries: list[Summary]  # by output and comparison
    of_sequences: list[Summary]  # by layer whose recorded states were compared


def compare_part(
    network: Network,
    recordings: Sequence[Recording],
    comparisons: Sequence[_Comparison],
    arithmetic: Analysis,
    samples: slice,
    sequences: Sequence[str] = (),
    extra: Sequence[Mapping[int | str, Array]] | None = None,
) -> list[_Compared]:
    """Replay some of the samples through all calls; return what was seen, for each run that the arithmetic does.

    `extra` is noise besides, by call, then as `lined_up` names it.
    """

    def allowed(expected: X, actual: Array, call: int, key: int | str) -> X:
        expected = as_stored(expected, actual, recordings[call].resolutions.get(key))
        if extra is None or not isinstance(expected, Rounded):
            return expected
        return expected.like(expected.value, expected.variance + np.square(extra[call][key]), None)

    states: States = {}
    growths = np.zeros(1)
    by_run: list[list[list[Summary]]] = [[] for _ in range(arithmetic.runs)]  # then by call, then as in _Compared
    of_sequences = [Summary()] * len(sequences)
    for index, recording in enumerate(recordings):
        inputs = [array[samples] for array in recording.inputs]
        if arithmetic.runs > 1:  # each on samples of its own
            inputs = [np.concatenate([array] * arithmetic.runs) for array in inputs]
        # A stateful layer starts from what the replay left, not from what the implementation did.
        replayed = replay(network, inputs, states=states, arithmetic=arithmetic, every_step=bool(sequences))
        states, growths = replayed.states, np.maximum(growths, replayed.growths)
        call = index if len(recordings) > 1 else None
        for number, name in enumerate(sequences):
            # A layer inside TimeDistributed has a row for each step of a sample.
            whole = recording.states[name]
            per_sample = len(whole) // len(recording.inputs[0])
            steps = whole[samples.start * per_sample : samples.stop * per_sample]
            block = whole_block(steps.shape, call, samples.start * per_sample)
            expected = allowed(replayed.sequences[name], steps, index, name)
            of_sequences[number] += compare(steps, expected, block, np.repeat(growths > GROWTH_LIMIT, per_sample))
        for run, by_call in enumerate(by_run):
            by_call.append([])
            for position, expected in enumerate(replayed.outputs):
                plain = recording.outputs[position][samples]
                # The runs' samples come one run's after the other's.
                rows = slice(run * len(plain), (run + 1) * len(plain))
                of_run = allowed(expected[rows], plain, index, position)
                block = whole_block(plain.shape, call, samples.start)
                for each in comparisons:
                    actual, around = each.outputs[index][position][samples], each.around(of_run, plain)
                    by_call[-1].append(compare(actual, around, block, each.unsure(growths[rows])))
    return [
        _Compared([total(summaries) for summaries in zip(*by_call, strict=True)], of_sequences) for by_call in by_run
    ]


def output_name(tensor: Tensor) -> str:
    """Return what a row calls an output of a layer: first its `output`, then the final `state` and the final `c`."""
    return ("output", "state", "c")[tensor.index]


def make_tolerance(rtol: float | None, atol: float | None) -> Tolerance | None:
    """Return the extra limit that somebody asked for, or None.

    Raises:
        InputError: only one of the two is given, or one is negative or not finite.
    """
    if rtol is None and atol is None:
        return None
    if rtol is None or atol is None:
        given, missing = ("rtol", "atol") if atol is None else ("atol", "rtol")
        raise InputError(
            f"{given}: got no {missing} beside it; expected both or neither. Add {missing}, 0 if need be."
        )
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not (isinstance(value, Real) and math.isfinite(value) and value >= 0.0):
            raise InputError(f"{name}: got {value!r}; expected a finite number from 0 up.")
    return Tolerance(rtol, atol)
