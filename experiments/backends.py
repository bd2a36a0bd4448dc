"""The built-in grid on every backend of Keras: fifty cases, every layer, wrapper and kind of mask among them.

    python -m experiments.backends [--cases 50] [--seed 0]

Cases of which a backend is known to compute something else (`cases.deviations.KNOWN_DEVIATIONS`) are left out.
"""

from __future__ import annotations

import argparse
import time

from rnncheck.cases.case import Case
from rnncheck.cases.grid import default_grid
from rnncheck.checks.verdicts import Verdict
from rnncheck.jobs.backends import named_backends
from rnncheck.jobs.job import case_job
from rnncheck.jobs.judge import run_and_judge


def chosen(count: int, seed: int, backends: tuple[str, ...]) -> list[Case]:
    """Return cases that cover as many layers, wrappers, masks and dtypes as so many can, those of the grid."""
    grid = default_grid(seed, backends)
    kinds: dict[tuple[str, ...], Case] = {}
    for case in grid:
        kinds.setdefault((case.layer, case.wrapper, case.mask, case.dtype), case)
    first = list({(case.layer, case.wrapper): case for case in kinds.values()}.values())
    others = [case for case in kinds.values() if case not in first]
    step = max(1, len(others) // max(1, count - len(first)))
    return [*first, *others[::step]][:count]


def main() -> None:
    """Run the cases on all backends that are installed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    backends = named_backends(["all"])
    cases = chosen(arguments.cases, arguments.seed, backends)
    start = time.perf_counter()
    report = run_and_judge([case_job(case) for case in cases], backends)
    print(report)
    print(f"{len(cases)} cases on {', '.join(backends)}: {time.perf_counter() - start:.0f} s")
    raise SystemExit(report.verdict is not Verdict.MATCH)


if __name__ == "__main__":
    main()
