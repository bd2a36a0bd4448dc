"""Proof that the checks can fail: every fault of the catalogue is caught somewhere, and no correct run is flagged.

Keras runs cases of the built-in grid, the smallest of each kind, from the smallest on, until there is nothing left to
catch; what ONNX alone has is emulated. Each run is held against its network with every fault in it that has not been
caught yet, as if the run were right and the network wrong: the difference is the same the other way round. The
controls are correct runs of other kinds, which must match.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

import numpy as np

from rnncheck.cases.case import GATES, SIZES, Case
from rnncheck.cases.grid import default_grid
from rnncheck.checks.thresholds import SCORE_LIMIT
from rnncheck.checks.verdicts import Row, failed_row
from rnncheck.equations.arithmetic import Emulation
from rnncheck.errors import InputError
from rnncheck.faults import emulation
from rnncheck.faults.catalogue import FAULTS, Fault, injections
from rnncheck.faults.emulation import Summing, emulate
from rnncheck.faults.trial import failures, rows_against
from rnncheck.frameworks.keras.environment import environment
from rnncheck.frameworks.keras.paths import PATHS
from rnncheck.frameworks.keras.session import configured_backend, quiet_framework
from rnncheck.frameworks.sources import Subject
from rnncheck.jobs.backends import named_backends
from rnncheck.jobs.job import case_job
from rnncheck.jobs.processes import run_in_processes
from rnncheck.network import Activation, Array, InputSpec, Layer, Network, Recording, Tensor
from rnncheck.report.outcomes import Control, Outcome, SelfTest

# Correct implementations other than Keras: what is special about them, and the arithmetic that they compute in.
_ARITHMETICS: Mapping[str, tuple[str, Emulation]] = {
    "first to last": ("products are summed from the first term to the last", Summing(emulation.one_after_the_other)),
    "last to first": ("products are summed from the last term to the first", Summing(emulation.last_to_first)),
    "in pairs": ("products are summed pair by pair", Summing(emulation.in_pairs)),
    "fused multiply-add": ("every product is added unrounded", Summing(emulation.fused)),
    "flush to zero": ("numbers below the smallest normal one are zero", emulation.Flushing()),
}


@dataclass
class _Progress:
    """What was found so far."""

    faults: Sequence[Fault]
    outcomes: dict[str, Outcome]  # by the name of the fault
    controls: dict[str, Control] = field(default_factory=dict)  # by name

    @property
    def pending(self) -> list[Fault]:
        return [fault for fault in self.faults if not self.outcomes[fault.name].caught]

    def note(self, name: str, summary: str, case: Case, rows: Sequence[Row]) -> None:
        self.controls[name] = self.controls.get(name, Control(name, summary)).after(str(case), rows)


def named_faults(names: Sequence[str]) -> tuple[Fault, ...]:
    """Return the faults of certain names or classes, or the whole catalogue; an InputError for an unknown name."""
    groups = tuple(dict.fromkeys(fault.group for fault in FAULTS))
    known = {*groups, *(fault.name for fault in FAULTS)}
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=3)
            raise InputError(
                f"faults: got {name!r}; expected names of faults or classes. "
                + (f"Close to it: {', '.join(close)}. " if close else "")
                + f"Classes: {', '.join(groups)}."
            )
    return tuple(fault for fault in FAULTS if not names or {fault.name, fault.group} & set(names))


def self_test(
    faults: Sequence[Fault] = FAULTS, seed: int = 0, track: Callable[[Sequence[Case]], Iterable[Case]] = iter
) -> SelfTest:
    """Run the self-test; `track` iterates over the cases, and may show progress."""
    from rnncheck.frameworks.keras.run import record

    progress = _Progress(faults, {fault.name: Outcome(fault.name, fault.group, fault.summary) for fault in faults})
    for name, network, given in networks_beyond_keras(seed):
        _try_faults(progress, name, network, emulate(network, given))
    controls: list[Case] = []
    for case in track(_cases(seed)):
        if not progress.pending and len(controls) == len(GATES):
            break
        with quiet_framework(), Subject.of(case).in_keras() as (model, network, calls):
            recordings = record(model, network, calls)
            progress.note("Keras", "Keras as it is", case, rows_against(network, recordings))
            _try_faults(progress, case, network, recordings)
            plain = Case(layer=case.layer, **{size: getattr(case, size) for size in SIZES}, seed=case.seed)
            if case == plain and case.layer in GATES:
                _try_controls(progress, case, model, network, calls)
                controls.append(case)
    _try_other_backends(progress, controls)
    return SelfTest(tuple(progress.outcomes.values()), tuple(progress.controls.values()))


def _cases(seed: int) -> list[Case]:
    # The smallest case of each kind, smallest first: two cases are of a kind if they agree in what matters to faults.
    cases: dict[tuple[Any, ...], Case] = {}
    for case in sorted(default_grid(seed, [configured_backend()]), key=lambda case: case.N * case.T * case.M):
        kind = (case.layer, case.wrapper, case.front, case.merge_mode, case.layers, case.mask)
        flags = (case.return_state, case.go_backwards, case.stateful, case.initial_state, case.flatten)
        # Most faults of an activation show with any but the usual one.
        usual = (case.activation == "tanh", case.recurrent_activation == "sigmoid", case.dense_activation == "linear")
        cases.setdefault((*kind, *flags, case.reset_after, *usual), case)
    return list(cases.values())


# What ONNX and PyTorch have and Keras does not: the kind and the options of the layer of each direction.
_USUAL = {
    **dict.fromkeys(("go_backwards", "stateful", "return_state", "zero_output_for_mask"), False),
    "return_sequences": True,
    "activation": Activation("tanh"),
    "recurrent_activation": Activation("sigmoid"),
}
_FURTHER: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]] = {
    "an RNN of ONNX with clip": [("SimpleRNN", {"clip": 0.5})],
    "an LSTM of ONNX with input_forget": [("LSTM", {"input_forget": True})],
    "an LSTM of ONNX with three activations": [("LSTM", {"output_activation": Activation("softsign")})],
    "an LSTM of ONNX with peepholes": [("PeepholeLSTM", {})],
    "an RNN of ONNX with other activations backwards": [
        ("SimpleRNN", {}),
        ("SimpleRNN", {"activation": Activation("softsign"), "go_backwards": True}),
    ],
    "an LSTM of PyTorch with a projection": [("ProjectedLSTM", {})],
}


_N, _T, _D, _M, _P = 3, 6, 4, 5, 3


def networks_beyond_keras(seed: int) -> Iterator[tuple[str, Network, list[list[Array]]]]:
    """Yield networks of what Keras does not have: a name, the network, and its inputs for two calls."""
    for name, directions in _FURTHER.items():
        rng = np.random.default_rng(seed)
        names = ("rnn",) if len(directions) == 1 else ("rnn/forward", "rnn/backward")
        layers = [_layer(each, rng, *own) for each, own in zip(names, directions, strict=True)]
        outputs = tuple(Tensor(each.name) for each in layers)
        x = rng.normal(size=(_N, _T, _D)).astype(np.float32)
        yield name, Network(name, (InputSpec("x", (_T, _D), "float32"),), tuple(layers), outputs), [[x], [x]]


def _layer(name: str, rng: np.random.Generator, kind: str, options: Mapping[str, Any]) -> Layer:
    columns = _M if kind == "SimpleRNN" else 4 * _M
    width = _P if kind == "ProjectedLSTM" else _M
    sizes: dict[str, tuple[int, ...]] = {
        "kernel": (_D, columns),
        "recurrent_kernel": (width, columns),
        "bias": (columns,),
    }
    if kind == "PeepholeLSTM":
        sizes["peephole"] = (3 * _M,)
    if kind == "ProjectedLSTM":
        sizes["projection"] = (_M, _P)
    weights = {each: rng.normal(0.0, 0.5, size).astype(np.float32) for each, size in sizes.items()}
    return Layer(name, kind, (Tensor("x"),), {"units": width, **_USUAL, **options}, weights)


def _try_faults(progress: _Progress, case: Case | str, network: Network, recordings: Sequence[Recording]) -> None:
    # Nothing may last from one call to the next: the same call twice shows states that do.
    twice = recordings if len(recordings) > 1 else (*recordings, *recordings)
    for injection in injections(network, progress.pending):
        outcome = progress.outcomes[injection.fault.name]
        if outcome.caught:  # in another layer of this case
            continue
        failed = failures(rows_against(injection.network, twice))
        if not failed:
            progress.outcomes[outcome.fault] = replace(outcome, hidden=outcome.hidden + 1)
            continue
        # The fault is in the layer, but may show best behind it.
        worst = max(failed, key=lambda row: row.score_max)
        progress.outcomes[outcome.fault] = replace(
            outcome,
            caught=True,
            check=str(worst.check),
            layer=injection.layer,
            margin=worst.score_max / SCORE_LIMIT,
            case=str(case),
        )


def _try_controls(progress: _Progress, case: Case, model: Any, network: Network, calls: Sequence[Any]) -> None:
    from rnncheck.frameworks.keras.run import record

    for name, (summary, arithmetic) in _ARITHMETICS.items():
        rows = rows_against(network, emulate(network, calls, arithmetic))
        progress.note(name, summary, case, rows)
    rows = rows_against(network, emulate(emulation.with_sigmoid_by_tanh(network), calls))
    progress.note("sigmoid by tanh", "sigmoid is computed as (1 + tanh(x/2))/2", case, rows)
    # Other ways of Keras to run the same model.
    for path in (PATHS[name] for name in ("call", "jit", "unroll", "all_true_mask", "batch_of_one")):
        rows = rows_against(network, record(model, network, calls, path))
        progress.note(path.name, path.summary, case, rows)


def _try_other_backends(progress: _Progress, cases: Sequence[Case]) -> None:
    others = [name for name in named_backends(["all"]) if name != environment()["backend"]]
    if not others:
        return
    for case, answers in zip(cases, run_in_processes(list(map(case_job, cases)), others), strict=True):
        for backend, ((run,), _) in answers.items():
            if run.network is None or run.error:
                rows: Sequence[Row] = [failed_row(case.layer, run.error)]
            else:
                rows = rows_against(run.network, run.recordings)
            progress.note(backend, f"Keras runs on {backend}", case, rows)
