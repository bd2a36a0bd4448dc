"""Examine something for many seeds: print what is wrong at once, count the rest, and keep both."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable

from experiments import records


def sweep(name: str, says: str, what: str, count: int, examine: Callable[[int, Counter[str]], list[str]]) -> None:
    """Run an experiment of that name as a command, with `--WHAT` and `--seed`; it fails if anything is wrong.

    Args:
        name: of the experiment, and of the file of its results.
        says: its description, for the help.
        what: what is examined, in the plural.
        count: how many of them unless the command says otherwise.
        examine: takes a seed, and counts to add to; returns a line for each thing that is wrong.
    """
    parser = argparse.ArgumentParser(description=says)
    parser.add_argument(f"--{what}", type=int, default=count, dest="count")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    failed = []
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        for line in examine(seed, counts):
            failed.append(line)
            print(line, flush=True)
    records.write(name, {what: arguments.count, "counts": dict(sorted(counts.items())), "failed": failed})
    for kind, number in sorted(counts.items()):
        print(f"{number:6d} {kind}")
    raise SystemExit(bool(failed))
