"""Correct code passes: random cases, every number against what rounding explains. Sets `rnncheck.checks.thresholds`.

    python -m experiments.calibrate [--cases 3000] [--seed 0] [--jobs 2]

Layers, wrappers, sizes, options, masks, activations, dtypes and recurrent kernels scaled by up to 3 are drawn at
random (`experiments.random_case`); case k has seed SEED + k, so that any of them can be run again alone. What is
printed, and written to experiments/results/calibration.json, is how far correct code goes: the largest score and root
mean square by kind of check and dtype or layer. Any verdict but match (or, end to end, undecidable) is printed with
its command, and fails the run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import IO, Any

from experiments import records
from experiments.random_case import random_case, verify_case
from rnncheck.cases.case import POLICIES

CASES = 3000

# There is a process for every core: threads of their own would only take turns.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


def run(seeds: Iterable[int], numbers: int) -> None:
    """Verify the cases of these seeds; print one line of JSON for each row."""
    from rnncheck.frameworks.keras.session import quiet_stderr

    with quiet_stderr():
        import keras  # noqa: F401 - so that its start-up messages are held back
    for seed in seeds:
        case = random_case(seed, numbers)
        entry = verify_case(case)
        for row in entry.rows:
            line = {
                "seed": seed,
                "case": str(case),
                "dtype": POLICIES[case.dtype],
                "layer": case.layer if case.wrapper == "none" else f"{case.wrapper} {case.layer}",
                "check": str(row.check),
                "count": math.prod(row.shape),
                "score_max": row.score_max,
                "score_rms": row.score_rms,
                "bound_use": row.bound_use or 0.0,
                "verdict": str(row.verdict),
                "detail": row.detail,
                "again": entry.reproduce,
            }
            print(json.dumps(line), flush=True)


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Say how far correct code goes, by kind of check and dtype or layer."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[f"{row['check']} {row['dtype']}"].append(row)
        groups[f"{row['check']} {row['layer']}"].append(row)
        groups[f"{row['check']} all"].append(row)
    return {name: _summarise_group(group) for name, group in sorted(groups.items())}


def _summarise_group(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    judged = [row for row in rows if row["verdict"] != "undecidable"]
    count = sum(row["count"] for row in judged)
    energy = sum(row["count"] * row["score_rms"] ** 2 for row in judged)

    def largest(name: str, least: int = 1) -> float:
        return round(max((row[name] for row in judged if row["count"] >= least), default=0.0), 3)

    return {
        "rows": len(rows),
        "undecidable": len(rows) - len(judged),
        "numbers": count,
        "score_max": largest("score_max"),
        "score_rms": round(math.sqrt(energy / count), 3) if count else 0.0,
        "largest_row_rms": largest("score_rms"),
        "largest_row_rms_of_1000": largest("score_rms", 1000),
        "bound_use": largest("bound_use"),
    }


def _spawn(arguments: argparse.Namespace, job: int, output: IO[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "experiments.calibrate", "--worker", str(job)]
    for name in ("cases", "seed", "jobs", "numbers"):
        command += [f"--{name}", str(getattr(arguments, name))]
    return subprocess.Popen(command, stdout=output, env={**os.environ, **ONE_THREAD})


def main() -> None:
    """Run the cases in several processes, print and write how far correct code goes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--numbers", type=int, default=150_000, help="states of a case at most")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.cases)
    if arguments.worker is not None:
        run(seeds[arguments.worker :: arguments.jobs], arguments.numbers)
        return
    with ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(arguments.jobs)]
        workers = [_spawn(arguments, job, output) for job, output in enumerate(outputs)]
        failed = any(list(map(subprocess.Popen.wait, workers)))
        for output in outputs:
            output.seek(0)
        rows = [json.loads(line) for output in outputs for line in output]
    summary = summarise(rows)
    for name, group in summary.items():
        print(f"{name:36s}", json.dumps(group))
    wrong = [row for row in rows if row["verdict"] not in {"match", "undecidable"}]
    for row in wrong:
        print("NOT A MATCH:", json.dumps(row))
    cases = len({row["seed"] for row in rows})
    numbers = sum(row["count"] for row in rows)
    print(f"seeds {seeds.start} to {seeds.stop - 1}: {cases} cases, {len(rows)} rows, {numbers:,} numbers,", end=" ")
    print(f"{len(wrong)} rows not explained")
    if not failed and cases == CASES:
        result = {
            "cases": cases,
            "first_seed": arguments.seed,
            "numbers": numbers,
            "wrong": len(wrong),
            "groups": summary,
        }
        records.write("calibration", result)
    raise SystemExit(bool(wrong) or failed)


if __name__ == "__main__":
    main()
