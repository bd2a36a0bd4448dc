"""Correct code passes: random cases, every number against what rounding explains. Sets `rnncheck.thresholds`.

    python -m experiments.calibrate [--cases 1000] [--seed 0] [--jobs 2]

Sizes, options, masks, activations, dtypes and recurrent kernels scaled by up to 3 are drawn at random; case k has
seed SEED + k, so that any of them can be run again alone. What is printed, and written to
experiments/results/calibration.json, is how far correct code goes: the largest score and root mean square by dtype
and kind of check. Any verdict but match (or, end to end, undecidable) is printed with its command, and fails the run.
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
from pathlib import Path
from typing import IO, Any

import numpy as np

from rnncheck.activations import ACTIVATIONS
from rnncheck.case import MASKS, POLICIES, Case
from rnncheck.grid import deviates

RESULT = Path(__file__).parent / "results" / "calibration.json"

# Activations that keep the state between fixed limits whatever the recurrent kernel.
BOUNDED = ("tanh", "sigmoid", "softsign", "hard_tanh", "hard_sigmoid", "sparse_sigmoid", "softmax")


def random_case(seed: int, numbers: int = 400_000) -> Case:
    """Draw a case whose states are at most so many numbers, and that Keras is not known to get wrong."""
    rng = np.random.default_rng(seed)
    while True:
        case = _draw(rng, seed, numbers)
        if not deviates(case):
            return case


def _draw(rng: np.random.Generator, seed: int, numbers: int) -> Case:

    def size(largest: int) -> int:
        return round(math.exp(rng.uniform(0.0, math.log(largest))))

    def sometimes(share: float) -> bool:
        return bool(rng.random() < share)

    dtype = str(rng.choice(list(POLICIES), p=[0.6, 0.1, 0.075, 0.075, 0.075, 0.075]))
    m, t_steps = size(300), size(400) + 1
    n = (
        int(np.clip(numbers // (m * t_steps), 1, 256))
        if sometimes(0.5)
        else min(size(32), max(1, numbers // (m * t_steps)))
    )
    activation = _activation(rng, without=("glu",)) if sometimes(0.5) else "tanh"
    head = _activation(rng) if sometimes(0.3) else "linear"
    scale = float(np.round(rng.uniform(0.3, 3.0), 2)) if activation in BOUNDED and sometimes(0.5) else None
    unroll = t_steps <= 12 and sometimes(0.5)
    sequences = sometimes(0.5)
    return Case(
        N=n,
        T=t_steps,
        D=size(128),
        M=m,
        K=2 * size(8),
        seed=seed,
        dtype=dtype,
        activation=activation,
        use_bias=sometimes(0.9),
        return_sequences=sequences,
        return_state=sometimes(0.3),
        go_backwards=sometimes(0.3),
        stateful=sometimes(0.2),
        unroll=unroll,
        initial_state=sometimes(0.4),
        mask=str(rng.choice(list(MASKS))) if sometimes(0.5) else "none",
        zero_output_for_mask=sometimes(0.3),
        dropout=0.3 if sometimes(0.2) else 0.0,
        recurrent_dropout=0.3 if sometimes(0.2) else 0.0,
        flatten=sequences and t_steps * m < 20_000 and sometimes(0.3),
        dense_activation=head,
        recurrent_scale=scale,
    )


def _activation(rng: np.random.Generator, without: Sequence[str] = ()) -> str:
    return str(rng.choice([name for name in ACTIVATIONS if name not in without]))


def run(seeds: Iterable[int], numbers: int) -> None:
    """Verify the cases of these seeds; print one line of JSON for each row."""
    from rnncheck.cli import quiet_stderr
    from rnncheck.verify import verify_case

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
                "activation": case.activation if row.layer == case.layer else case.dense_activation,
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
    """Say how far correct code goes, by dtype and kind of check."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[f"{row['check']} {row['dtype']}"].append(row)
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
    return subprocess.Popen(command, stdout=output)


def main() -> None:
    """Run the cases in several processes, print and write how far correct code goes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--numbers", type=int, default=400_000, help="states of a case at most")
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
        print(f"{name:24s}", json.dumps(group))
    wrong = [row for row in rows if row["verdict"] not in {"match", "undecidable"}]
    for row in wrong:
        print("NOT A MATCH:", json.dumps(row))
    cases = len({row["seed"] for row in rows})
    numbers = sum(row["count"] for row in rows)
    print(f"{cases} cases, {len(rows)} rows, {numbers:,} numbers, {len(wrong)} rows not explained")
    if not failed and cases == 1000:
        result = {
            "cases": cases,
            "first_seed": arguments.seed,
            "numbers": numbers,
            "wrong": len(wrong),
            "groups": summary,
        }
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
    raise SystemExit(bool(wrong) or failed)


if __name__ == "__main__":
    main()
