"""What the first line of a report says of wrong runs: one fault after the other, of every class of the catalogue.

    python -m experiments.first_lines [--count 30] [--seed 300000]

Faults are taken from the classes in turn. Each is put into the first random model that can have it and shows it, and
the run is compared as `rnncheck compare` does, with states. The command prints the first line of each report, and
fails unless all of them say what the fault does.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain, zip_longest

from experiments.diagnosis import model_of
from rnncheck.checks.verdicts import Verdict
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.catalogue.fault import Fault, injections
from rnncheck.faults.emulation import emulate
from rnncheck.frameworks.keras.session import quiet_stderr
from rnncheck.frameworks.sources import Subject
from rnncheck.jobs.judge import judge_recording
from rnncheck.report.answer import answers

# Faults that show in none of so many models are left out.
_MODELS = 60


def in_turn(count: int) -> list[Fault]:
    """Return so many faults, from every class of the catalogue in turn."""
    groups = {fault.group: [each for each in FAULTS if each.group == fault.group] for fault in FAULTS}
    turns = chain.from_iterable(zip_longest(*groups.values()))
    return [fault for fault in turns if fault is not None][:count]


def first_lines(faults: list[Fault], seed: int) -> Iterator[tuple[Fault, str]]:
    """Yield the first line of a report for each fault, as models are found that show it."""
    waiting = list(faults)
    for number in range(seed, seed + _MODELS):
        network, calls = model_of(number)
        for fault in list(waiting):
            for injection in injections(network, [fault]):
                recordings = emulate(injection.network, calls)
                report = judge_recording(Subject.of(network), recordings)
                if report.verdict is Verdict.MISMATCH:
                    waiting.remove(fault)
                    yield fault, str(answers(report.entries)[0]).partition("\n")[0]
                    break
        if not waiting:
            return


def main() -> None:
    """Print the first lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=300_000)
    arguments = parser.parse_args()
    with quiet_stderr():
        import keras  # noqa: F401 - so that its start-up messages are held back
    found = []
    for fault, line in first_lines(in_turn(arguments.count), arguments.seed):
        found.append(fault.summary in line)
        print(f"{fault.group}: {fault.name}: {'' if found[-1] else 'NOT NAMED: '}{line}", flush=True)
    print(f"{sum(found)} of {len(found)} first lines say what is wrong")
    raise SystemExit(not all(found))


if __name__ == "__main__":
    main()
