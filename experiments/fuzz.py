"""Mutated files are read or refused: nothing else is raised, nothing hangs, nothing takes the machine's memory.

    python -m experiments.fuzz [--mutations 1000000] [--seed 0] [--jobs 2]

Mutation k is drawn with seed SEED + k. Most change the description of a real model, value by value, and read it with
the weights that it had; others change HDF5, archives or files of arrays, as structures or byte by byte. What reads is
run on two samples. Anything but an `RnncheckError`, more than 10 seconds or more than 2 GB crashes; so does a process
that dies. The first file of each crash is kept in `tests/crashers`, which the tests read from then on. The command
prints a line for each crash, then a summary, and fails if there is one.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import resource
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from experiments.mutations import Model, load_models, mutated_arrays, mutated_description, mutated_file, save_models
from rnncheck.cases.array_files import read_arrays, told_of
from rnncheck.cases.inputs import check_inputs, random_inputs
from rnncheck.equations.replay import replay
from rnncheck.equations.shapes import rehearse
from rnncheck.errors import RnncheckError
from rnncheck.frameworks.keras.config.reader import read
from rnncheck.frameworks.keras.files.modelfile import parse_description
from rnncheck.frameworks.sources import open_network
from rnncheck.network import InputSpec, Network
from rnncheck.report.network_table import output_shapes

ROOT = Path(__file__).parent.parent
CRASHERS = ROOT / "tests" / "crashers"
SECONDS, BYTES = 10, 2 << 30
KINDS, SHARES = ("description", "file", "arrays"), (0.85, 0.1, 0.05)
ENDS = ("accepted", "refused", "crashed")

# Larger inputs than these are not run, so that the time of many is not spent on a few.
_NUMBERS = 20_000


# --- one mutation ---


@dataclass(frozen=True)
class Mutation:
    """A mutated file: what kind of change it has, what reads it, and its content."""

    kind: str
    suffix: str
    read: Callable[[], Any]
    content: Callable[[], bytes]


def drawn(seed: int, models: Sequence[Model], folder: Path) -> Mutation:
    """Draw a mutation."""
    rng = Random(seed)  # noqa: S311 - nothing secret
    (kind,), model, other = rng.choices(KINDS, SHARES), rng.choice(models), rng.choice(models)
    if kind == "description":
        tree = mutated_description(model, other, rng)

        def read_description() -> None:
            described = parse_description(json.dumps(tree), "mutation")
            run(rehearse(read(described, model, model.version)))

        return Mutation(kind, model.suffix, read_description, lambda: model.with_description(tree))
    content, suffix = mutated_arrays(rng) if kind == "arrays" else (mutated_file(model, rng), model.suffix)

    def read_content() -> None:
        path = folder / f"mutation{suffix}"
        path.write_bytes(content)
        read_file(path)

    return Mutation(kind, suffix, read_content, lambda: content)


def read_file(path: Path) -> None:
    """Read a file of a model or of arrays as every command does."""
    if path.suffix in {".npy", ".npz"}:
        specs = (InputSpec("x", (16, 1), "float32"),)
        arrays = read_arrays(path, specs)
        with told_of(path):
            check_inputs(Network("any", specs, (), ()), arrays)
    else:
        run(open_network(path)[1])


def run(network: Network) -> None:
    """Do with a network what every command does: find its shapes, and run it on two samples."""
    output_shapes(network)
    fixed = [spec.samples for spec in network.inputs if spec.samples is not None]
    is_open = any(None in spec.shape for spec in network.inputs)
    sizes = [math.prod(8 if size is None else size for size in spec.shape) for spec in network.inputs]
    if sum(sizes) * max(fixed, default=2) < _NUMBERS:
        replay(network, random_inputs(network, 0, None if fixed else 2, 8 if is_open else None))


class TooSlowError(BaseException):
    """A file took longer than it may; nothing in the package catches it."""


def _too_slow(*_: Any) -> None:
    raise TooSlowError


def outcome(mutation: Mutation) -> str:
    """Read a mutation; return whether it was accepted, refused, or what else was raised, and where."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        mutation.read()
    except RnncheckError:
        return "refused"
    except (Exception, TooSlowError) as error:  # noqa: BLE001 - anything else is what is looked for
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if Path(frame.filename).is_relative_to(ROOT / "rnncheck")] or frames
        return f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno} ({str(error)[:100]})"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "accepted"


# --- many ---


def work(seeds: range, corpus: Path, current: Any, results: Any) -> None:
    """Read the mutations of some seeds, in a process of its own; `current` says which one it is at."""
    signal.signal(signal.SIGALRM, _too_slow)
    warnings.simplefilter("ignore")
    models = load_models(corpus)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, resource.RLIM_INFINITY))
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            current.value = seed
            mutation = drawn(seed, models, Path(folder))
            found = outcome(mutation)
            if found not in ENDS:
                results.put((seed, found))
                found = "crashed"
            counts[f"{mutation.kind} {found}"] += 1
            if counts.total() == 200 or seed == seeds[-1]:  # a process that dies takes no more with it
                results.put(counts)
                counts = Counter()
    current.value = -1


def fuzz(count: int, seed: int, jobs: int) -> Counter[str]:
    """Read so many mutations in several processes; return how many of each kind ended how."""
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    counts, kept = Counter[str](), set[str]()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder)
        saving = context.Process(target=save_models, args=(corpus,))  # Keras stays out of the other processes
        saving.start()
        saving.join()
        models = load_models(corpus)
        waiting = [range(seed + k, seed + count, jobs) for k in range(jobs)]
        running: list[tuple[Any, Any, range]] = []
        while waiting or running or not results.empty():
            for seeds in waiting:
                current = context.Value("q", seeds.start)
                process = context.Process(target=work, args=(seeds, corpus, current, results))
                process.start()
                running.append((process, current, seeds))
            waiting = []
            time.sleep(0.2)
            while not results.empty():
                found: Any = results.get()
                if isinstance(found, tuple):
                    crashed, said = found
                    _keep(crashed, said, models, kept)
                else:
                    counts += found
            for process, current, seeds in [each for each in running if not each[0].is_alive()]:
                running.remove((process, current, seeds))
                if current.value >= 0:
                    _keep(current.value, f"exit code {process.exitcode}", models, kept)
                    counts["process crashed"] += 1
                    waiting.append(range(current.value + jobs, seeds.stop, jobs))
    return counts


# Print what crashed, and keep the first file of each kind.
def _keep(seed: int, said: str, models: Sequence[Model], kept: set[str]) -> None:
    print(f"seed {seed}: {said}", flush=True)
    where, *_ = said.split(" (", maxsplit=1)
    if where not in kept:
        kept.add(where)
        mutation = drawn(seed, models, CRASHERS)
        CRASHERS.mkdir(exist_ok=True)
        (CRASHERS / f"{seed}{mutation.suffix}").write_bytes(mutation.content())


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("mutations", 10**6), ("seed", 0), ("jobs", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    start = time.monotonic()
    counts = fuzz(given.mutations, given.seed, given.jobs)
    for kind, number in sorted(counts.items()):
        print(f"{number:9,d} {kind}")
    ends = {end: sum(number for kind, number in counts.items() if kind.endswith(end)) for end in ENDS}
    told = ", ".join(f"{number:,} {end}" for end, number in ends.items())
    print(f"{counts.total():,} mutations: {told}; {time.monotonic() - start:.0f} s")
    raise SystemExit(bool(ends["crashed"]))


if __name__ == "__main__":
    main()
