"""The right fault is named: diagnoses of random models with random faults, and of the same models without.

    python -m experiments.diagnosis [--cases 20] [--seed 200000] [--faults 12]

Models are drawn by `experiments.random_case`, over every layer, option, mask and dtype; Keras builds them. Each runs
right, and with some faults of the catalogue, the rarest so far first: each in one layer, and in all layers at once
that can have it. A fault counts where its run is caught. It is named when it comes first, in its layers, or behind
others that explain the run equally well. The command fails when fewer than 95 % are named, or when something is named
on a correct run.
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
from rnncheck.faults.catalogue.fault import Injection, chained, injections
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

    # ("first", "equally" or "otherwise", whether the fault is in several layers) -> how often
    named: Counter[tuple[str, bool]] = field(default_factory=Counter)
    tried: Counter[str] = field(default_factory=Counter)  # fault -> how often
    alarms: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def share(self, *, everywhere: bool) -> float:
        """Return the share of faults that are named, of those in one layer or of those in several."""
        first, equally, otherwise = (self.named[how, everywhere] for how in ("first", "equally", "otherwise"))
        return (first + equally) / max(first + equally + otherwise, 1)


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


def standing(diagnosis: Diagnosis | None, chain: Sequence[Injection]) -> str:
    """Say where a diagnosis has a fault in one layer or in several: first, equally, or otherwise."""
    if diagnosis is None:
        return "otherwise"
    if diagnosis.weights and chain[0].fault.group == "small":
        return "first"
    places = [(each.faults, each.layers) for each in diagnosis.explanations]
    own = (tuple(each.fault.name for each in chain), tuple(each.layer for each in chain))
    if places and places[0] == own:
        return "first"
    # Where the fault explains the run in some of its layers alone, it shows in no other.
    parts = [len({*faults}) == 1 and faults[0] == own[0][0] and {*layers} <= {*own[1]} for faults, layers in places]
    return "equally" if any(parts) else "otherwise"


def examine(tally: Tally, seed: int, faults: int) -> None:
    """Diagnose one random model, right and with some faults."""
    network, calls = model_of(seed)
    honest = emulate(network, calls)
    if failures(rows_against(network, honest)):
        tally.alarms.append(str(seed))
    alone = [(each,) for each in injections(network, FAULTS)]
    names = [layer.name for layer in network.layers]
    everywhere = [chain for fault in FAULTS if len(chain := chained(network, [(fault, name) for name in names])) > 1]
    for chains in (alone, everywhere):
        for chain in sorted(chains, key=lambda chain: tally.tried[_label(chain)])[:faults]:
            tally.tried[_label(chain)] += 1
            recordings = emulate(chain[-1].network, calls)
            rows = rows_against(network, recordings)
            if failures(rows):
                start = time.perf_counter()
                found = standing(diagnose(network, recordings, rows, FAULTS), chain)
                tally.seconds.append(time.perf_counter() - start)
                tally.named[found, len(chain) > 1] += 1
                if found == "otherwise":
                    layers = ", ".join(each.layer for each in chain)
                    print(f"not named: {_label(chain)} in {layers} (seed {seed})", flush=True)


def _label(chain: Sequence[Injection]) -> str:
    return chain[0].fault.name + " everywhere" * (len(chain) > 1)


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
    print(f"{len(tally.tried)} kinds of faults in {arguments.cases} random models: {tally.named.total()} caught")
    for everywhere, where in ((False, "in one layer"), (True, "in all layers at once")):
        first, equally = (tally.named[how, everywhere] for how in ("first", "equally"))
        print(f"{where}: {first} named first, {equally} with others that explain the run equally well", end="; ")
        print(f"{tally.share(everywhere=everywhere):.1%} named")
    print(f"{len(tally.alarms)} correct runs with a diagnosis")
    print(f"seconds a diagnosis: median {np.median(tally.seconds):.2f}, most {max(tally.seconds):.2f}")
    few = any(tally.share(everywhere=everywhere) < ENOUGH for everywhere in (False, True))
    raise SystemExit(few or bool(tally.alarms))


if __name__ == "__main__":
    main()
