"""The right fault is named: diagnoses of random models with random faults, and of the same models without.

    python -m experiments.diagnosis [--cases 20] [--seed 200000] [--faults 12]

Models are drawn by `experiments.random_case`, over every layer, option, mask and dtype; Keras builds them. Each runs
right, and with some faults of the catalogue, the rarest so far first. A fault counts where its run is caught. It is
named when it comes first, in its layer, or behind others that explain the run equally well. The command fails when
fewer than 95 % are named, or when something is named on a correct run.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from experiments.random_case import random_case
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.catalogue.fault import Injection, injections
from rnncheck.faults.diagnosis import Diagnosis, diagnose
from rnncheck.faults.emulation import emulate
from rnncheck.faults.trial import failures, rows_against
from rnncheck.frameworks.keras.session import quiet_stderr
from rnncheck.network import Array, Network

# The share of faults that must be named.
ENOUGH = 0.95


@dataclass
class Tally:
    """What became of the faults."""

    named: Counter[str] = field(default_factory=Counter)  # "first", "equally", "otherwise"
    tried: Counter[str] = field(default_factory=Counter)  # fault -> how often
    alarms: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        """The share of faults that are named."""
        return (self.named["first"] + self.named["equally"]) / max(self.named.total(), 1)


def model_of(seed: int) -> tuple[Network, list[tuple[Array, ...]]]:
    """Return the network of a random case, and the inputs of two calls."""
    import keras

    from rnncheck.frameworks.keras.build import build
    from rnncheck.frameworks.keras.extract import extract
    from rnncheck.frameworks.keras.session import quiet_framework

    case = random_case(seed, 20_000)
    with quiet_framework():
        built = build(case)
        network = extract(built.model)
    keras.backend.clear_session()
    calls = built.calls if len(built.calls) > 1 else built.calls * 2
    narrow = case.dtype != "float64"
    return network, [tuple(_as_given(array, narrow=narrow) for array in inputs) for inputs in calls]


def _as_given(array: Array, *, narrow: bool) -> Array:
    return array.astype(np.float32) if narrow and array.dtype.kind == "f" else array


def standing(diagnosis: Diagnosis | None, injection: Injection) -> str:
    """Say where a diagnosis has a fault: first, equally, or otherwise."""
    if diagnosis is None:
        return "otherwise"
    if diagnosis.weights and injection.fault.group == "small":
        return "first"
    places = [(each.faults, each.layers) for each in diagnosis.explanations]
    own = ((injection.fault.name,), (injection.layer,))
    return "otherwise" if own not in places else "first" if places[0] == own else "equally"


def examine(tally: Tally, seed: int, faults: int) -> None:
    """Diagnose one random model, right and with some faults."""
    network, calls = model_of(seed)
    honest = emulate(network, calls)
    if failures(rows_against(network, honest)):
        tally.alarms.append(str(seed))
    rarest = sorted(injections(network, FAULTS), key=lambda each: tally.tried[each.fault.name])
    for injection in rarest[:faults]:
        tally.tried[injection.fault.name] += 1
        recordings = emulate(injection.network, calls)
        rows = rows_against(network, recordings)
        if failures(rows):
            start = time.perf_counter()
            found = standing(diagnose(network, recordings, rows, FAULTS), injection)
            tally.seconds.append(time.perf_counter() - start)
            tally.named[found] += 1
            if found == "otherwise":
                print(f"not named: {injection} (seed {seed})", flush=True)


def run(seeds: Sequence[int], faults: int) -> Tally:
    """Diagnose random models."""
    tally = Tally()
    for seed in seeds:
        examine(tally, seed, faults)
    return tally


def main() -> None:
    """Print how many faults are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--seed", type=int, default=200_000)
    parser.add_argument("--faults", type=int, default=12, help="how many to try in each model")
    arguments = parser.parse_args()
    with quiet_stderr():
        import keras  # noqa: F401 - so that its start-up messages are held back
    tally = run(range(arguments.seed, arguments.seed + arguments.cases), arguments.faults)
    caught = tally.named.total()
    print(f"{len(tally.tried)} kinds of faults in {arguments.cases} random models: {caught} caught; of these")
    print(
        f"{tally.named['first']} named first, {tally.named['equally']} with others that explain the run equally well"
    )
    print(f"{tally.share:.1%} named; {len(tally.alarms)} correct runs with a diagnosis")
    print(f"seconds a diagnosis: median {np.median(tally.seconds):.2f}, most {max(tally.seconds):.2f}")
    raise SystemExit(tally.share < ENOUGH or bool(tally.alarms))


if __name__ == "__main__":
    main()
