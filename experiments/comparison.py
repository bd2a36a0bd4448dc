"""Right code passes and wrong code fails, beside the rules people use: false alarms and misses on the same runs.

    python -m experiments.comparison

Networks of a recurrent layer and a Dense head run in several right arithmetics, and with every fault of the catalogue
that they can have. rnncheck sees the states of every step; a rule is what people write about the final output alone:
|actual - expected| <= atol + rtol·|expected|, where expected is the float64 replay.

A faulty run counts where the fault moves some number by more than 10 times its noise. `moved` is the largest change
in what a layer is expected to put out, with the fault and without it, from the same numbers before, computed in
float64. What moves less is left out for everybody: a state kept for a next call that never comes, a weight that is
off by less than its format resolves. The noise is the one that rnncheck goes by, so that the yardstick is its own: a
miss of rnncheck is a fault that it claims to see and does not. How many runs are left out is printed. Faulty runs are
in one arithmetic, which rounds every step once.

The command fails where rnncheck has a false alarm or a miss.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product, zip_longest
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import rnncheck
from experiments import records
from experiments.networks import GATES, dense, recurrent
from experiments.power import VISIBLE, D, K, N
from rnncheck.checks.observed import observe
from rnncheck.checks.steps import Differences, differences
from rnncheck.equations.arithmetic import Emulation
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.catalogue.fault import Fault, Injection, injections
from rnncheck.faults.emulation import Summing, emulate, fused, in_pairs, last_to_first, one_after_the_other
from rnncheck.faults.trial import failures, rows_against
from rnncheck.network import Array, InputSpec, Layer, Network, Recording, Tensor

RNNCHECK = "rnncheck"

# What people compare final outputs with: name -> (rtol, atol).
RULES: Mapping[str, tuple[float, float]] = {
    "numpy.testing.assert_allclose": (1e-7, 0.0),
    "numpy.allclose": (1e-5, 1e-8),
    "Keras": (1e-6, 1e-6),
    "torch float32": (1.3e-6, 1e-5),
    "ONNX": (1e-3, 1e-7),
    "Polygraphy": (1e-5, 1e-5),
    "1e-4 absolute": (0.0, 1e-4),
    "hls4ml": (0.0, 5e-2),
}

# What a weight is off by, as the catalogue's names have it -> the class.
_SMALL = {
    "0.001": "weight off by 1e-3",
    "0.0001": "weight off by 1e-4",
    "1e-05": "weight off by 1e-5",
    "1e-06": "bias off by 1e-6",
}
SEVERITIES = ("semantic", "precision", *_SMALL.values())

# The classes of honest runs: those of a chaotic network, whatever its format, and the others by format.
CONDITIONS = ("float32", "16 bits", "chaotic")

# With recurrent kernels of this scale, errors of a SimpleRNN grow from step to step.
_STRONG = 3.0

_WORKERS = 2

_ROUNDED_ONCE: tuple[Callable[[], Emulation], ...] = (Emulation,)
_IN_FLOAT32: tuple[Callable[[], Emulation], ...] = (
    Emulation,
    lambda: Summing(one_after_the_other),
    lambda: Summing(last_to_first),
    lambda: Summing(in_pairs),
    lambda: Summing(fused),
)


@dataclass(frozen=True)
class Setting:
    """A network and its inputs."""

    kind: str  # the recurrent layer
    units: int  # M
    dtype: str = "float32"
    scale: float = 0.9  # the largest singular value of each gate's recurrent kernel
    reset_after: bool = True  # of a GRU
    masked: bool = False  # whether a mask with holes comes with the inputs
    seed: int = 0  # of weights and inputs

    @property
    def steps(self) -> int:
        """T."""
        return 100 if self.is_chaotic else 30

    @property
    def is_chaotic(self) -> bool:
        """Whether errors grow from step to step, with 64 units to the size of the signal; gates hold them down."""
        return self.kind == "SimpleRNN" and self.scale == _STRONG

    @property
    def condition(self) -> str:
        """The class of honest runs."""
        if self.is_chaotic:
            return "chaotic"
        return "float32" if self.dtype == "float32" else "16 bits"

    @property
    def arithmetics(self) -> tuple[Callable[[], Emulation], ...]:
        """How right implementations compute."""
        return _IN_FLOAT32 if self.dtype == "float32" else _ROUNDED_ONCE


_LAYERS: tuple[tuple[str, bool], ...] = (("SimpleRNN", True), ("LSTM", True), ("GRU", True), ("GRU", False))

SETTINGS = (
    *(
        Setting(kind, units, dtype, scale, reset_after, seed=seed)
        for (kind, reset_after), units, dtype, scale, seed in product(
            _LAYERS, (8, 64), ("float32", "float16", "bfloat16"), (0.9, _STRONG), (0, 1)
        )
    ),
    *(Setting(kind, 8, reset_after=reset_after, masked=True) for kind, reset_after in _LAYERS),
)

# Faulty runs are many to a setting: these depart from few units, float32 and moderate weights in one thing at most.
FAULTY = tuple(
    each
    for each in SETTINGS
    if each.seed == 0 and (each.units == 8) + (each.dtype == "float32") + (each.scale == 0.9) >= 2
)


@dataclass(frozen=True)
class Run:
    """One run, and what everybody says of it."""

    name: str  # what was run
    honest: bool  # whether nothing is wrong with it
    group: str  # its class: of `CONDITIONS` where it is honest, of `SEVERITIES` where it is faulty
    flagged: Mapping[str, bool]  # rnncheck and every rule -> whether it fails the run

    def is_wrong(self, rule: str) -> bool:
        """Whether a rule has a false alarm here, or a miss."""
        return self.flagged[rule] is self.honest


@dataclass(frozen=True)
class Found:
    """All runs."""

    runs: tuple[Run, ...]  # those that count
    left_out: int  # how many faulty runs move nothing by more than `VISIBLE`

    def of(self, *, honest: bool, group: str) -> list[Run]:
        """Return the honest runs of a class, or the faulty ones."""
        return [run for run in self.runs if run.honest is honest and run.group == group]


def make_network(setting: Setting) -> tuple[Network, tuple[Array, ...]]:
    """Return Input -> recurrent layer -> Dense with random weights, and its inputs: (N, T, D), and a mask (N, T)."""
    rng = np.random.default_rng(setting.seed)
    specs = [InputSpec("inputs", (setting.steps, D), setting.dtype)]
    inputs = [_normal(rng, N, setting.steps, D)]
    if setting.masked:
        specs.append(InputSpec("mask", (setting.steps,), "bool"))
        inputs.append(_mask(rng, setting.steps))
    layers = (_recurrent(setting, rng), _dense(setting, rng))
    return Network("comparison", tuple(specs), layers, (Tensor("dense"),)), tuple(inputs)


def _normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(size=shape).astype(np.float32)


def _mask(rng: np.random.Generator, steps: int) -> Array:
    # (N, T) with holes, the first step of every sample counted but for the last sample, where none counts.
    mask = rng.random((N, steps)) < 0.7
    mask[:, 0] = True
    mask[-1] = False
    return mask


def _recurrent(setting: Setting, rng: np.random.Generator) -> Layer:
    m, gates = setting.units, GATES[setting.kind]
    squares = [setting.scale * np.linalg.qr(rng.normal(size=(m, m)))[0] for _ in range(gates)]
    rows = (2,) if setting.kind == "GRU" and setting.reset_after else ()
    weights: dict[str, Array] = {
        "kernel": _normal(rng, D, gates * m) / 2,
        "recurrent_kernel": np.concatenate(squares, axis=1).astype(np.float32),
        "bias": _normal(rng, *rows, gates * m) / 4,
    }
    mask = Tensor("mask") if setting.masked else None
    own: dict[str, Any] = {"reset_after": setting.reset_after} if setting.kind == "GRU" else {}
    return recurrent("rnn", setting.kind, "inputs", weights, setting.dtype, mask=mask, **own)


def _dense(setting: Setting, rng: np.random.Generator) -> Layer:
    weights: dict[str, Array] = {
        "kernel": _normal(rng, setting.units, K) / np.float32(setting.units**0.5),
        "bias": _normal(rng, K) / 4,
    }
    return dense("dense", "rnn", weights, setting.dtype)


def severity(fault: Fault) -> str:
    """Return the class of a fault: by how much a weight is off, precision, or semantic for all others."""
    _, _, amount = fault.name.partition("_off_by_")
    return _SMALL.get(amount, "precision" if fault.group == "precision" else "semantic")


def moved(network: Network, injection: Injection, recordings: Sequence[Recording]) -> float:
    """Return the largest change that a fault makes to what a layer is expected to put out, in units of its noise."""
    right_calls, wrong_calls = observe(network, recordings), observe(injection.network, recordings)
    changes = [
        _change(right, wrong)
        for layer in network.layers
        if (faulty := injection.network.layer(layer.name)) is not layer
        for right, wrong in zip_longest(differences(layer, right_calls), differences(faulty, wrong_calls))
    ]
    return max(changes, default=0.0)


def _change(right: Differences, wrong: Differences | None) -> float:
    # Both hold the same run's numbers against what they expect, which differs by as much as the fault changes.
    # Where a fault hides the states that its steps start from, its run's own numbers stand for what it expects.
    # Where a change is not a number, the fault has left the format's range, which is more than any noise.
    with np.errstate(all="ignore"):
        change = np.abs(right.value if wrong is None else right.value - wrong.value)
        scores = np.where(change == 0.0, 0.0, change / right.noise)
    return float(np.max(np.nan_to_num(scores, nan=np.inf)))


def flags(network: Network, recordings: Sequence[Recording], expected: Array) -> dict[str, bool]:
    """Say who fails a run, given the outputs that the replay expects of it."""
    (actual,) = recordings[-1].outputs
    rules = {name: not np.allclose(actual, expected, rtol, atol) for name, (rtol, atol) in RULES.items()}
    return {**rules, RNNCHECK: bool(failures(rows_against(network, recordings)))}


def honest_runs(setting: Setting) -> list[Run]:
    """Run a network in every right arithmetic."""
    network, inputs = make_network(setting)
    (expected,) = rnncheck.replay(network, inputs).outputs
    runs = (emulate(network, [inputs], arithmetic()) for arithmetic in setting.arithmetics)
    return [
        Run(str(setting), honest=True, group=setting.condition, flagged=flags(network, run, expected)) for run in runs
    ]


def faulty_runs(setting: Setting) -> list[Run | None]:
    """Run a network with every fault that it can have; None for a run in which the fault moves too little."""
    network, inputs = make_network(setting)
    (expected,) = rnncheck.replay(network, inputs).outputs
    runs: list[Run | None] = []
    for injection in injections(network, FAULTS):
        recordings = emulate(injection.network, [inputs])
        if moved(network, injection, recordings) > VISIBLE:
            flagged = flags(network, recordings, expected)
            runs.append(
                Run(f"{injection}: {setting}", honest=False, group=severity(injection.fault), flagged=flagged)
            )
        else:
            runs.append(None)
    return runs


def run_all(honest: Sequence[Setting] = SETTINGS, faulty: Sequence[Setting] = FAULTY, mapper: Any = map) -> Found:
    """Make the honest runs of some settings and the faulty runs of some, by `map` or by a function like it."""
    runs = [
        run for made in (mapper(honest_runs, honest), mapper(faulty_runs, faulty)) for each in made for run in each
    ]
    counted = tuple(run for run in runs if run is not None)
    return Found(counted, len(runs) - len(counted))


def summarize(found: Found, rule: str) -> dict[str, Any]:
    """Return a rule's false alarms and misses, beside how many runs there were to get wrong."""
    honest = {group: found.of(honest=True, group=group) for group in CONDITIONS}
    faulty = {group: found.of(honest=False, group=group) for group in SEVERITIES}
    alarms, misses = (
        {group: sum(run.is_wrong(rule) for run in runs) for group, runs in by_group.items()}
        for by_group in (honest, faulty)
    )
    return {
        "false_alarms": sum(alarms.values()),
        "honest": sum(map(len, honest.values())),
        "false_alarms_by_condition": alarms,
        "honest_by_condition": {group: len(runs) for group, runs in honest.items()},
        "misses": misses,
        "faulty": {group: len(runs) for group, runs in faulty.items()},
    }


def result_of(found: Found) -> dict[str, Any]:
    """Return all that is kept: every rule's summary, rnncheck's last."""
    return {"left_out": found.left_out, "rules": {rule: summarize(found, rule) for rule in (*RULES, RNNCHECK)}}


def table_of(result: Mapping[str, Any]) -> Table:
    """Return one line for each rule: false alarms of all honest runs and by class, then misses by class."""
    table = Table(box=None, pad_edge=False)
    for column in ("rule", "rtol", "atol", "false\nalarms", *CONDITIONS, *SEVERITIES):
        table.add_column(column.replace(" by ", "\nby "), justify="left" if column == "rule" else "right")
    for rule, found in result["rules"].items():
        tolerances = [_short(tolerance) for tolerance in RULES.get(rule, ())] or ["", ""]
        alarms = (found["false_alarms_by_condition"], found["honest_by_condition"])
        cells = (*_shares(*alarms), *_shares(found["misses"], found["faulty"]))
        all_alarms = f"{found['false_alarms']}/{found['honest']}"
        table.add_row(rule, *tolerances, all_alarms, *cells)
    return table


def _short(tolerance: float) -> str:
    return np.format_float_scientific(tolerance, trim="-", exp_digits=1) if tolerance else "0"


def _shares(wrong: Mapping[str, int], runs: Mapping[str, int]) -> Iterator[str]:
    return (f"{wrong[group]}/{count}" for group, count in runs.items())


def main() -> None:
    """Print the table, write the result, and fail if rnncheck had a false alarm or a miss."""
    with ProcessPoolExecutor(_WORKERS) as pool:
        found = run_all(mapper=pool.map)
    result = result_of(found)
    Console(width=150).print(table_of(result))
    print(
        f"\nLeft out: {result['left_out']} faulty runs that move no number by more than {VISIBLE:g} times its noise."
    )
    records.write("comparison", result)
    wrong = [run for run in found.runs if run.is_wrong(RNNCHECK)]
    for run in wrong:
        print(f"not as it should be: {'false alarm' if run.honest else 'miss'}: {run.name}", file=sys.stderr)
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
