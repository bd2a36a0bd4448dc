"""Is what Keras exports to ONNX right? Every case of the built-in grid is exported, run in several ways, and judged.

    python -m experiments.exports [--every K]

The model is exported with Keras' own exporter on TensorFlow, and runs in ONNX Runtime. The result is written to
experiments/results/exports.json: how many uses of the exports have which verdict, and each that does not match.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import rnncheck
from experiments import records
from rnncheck.cases.case import Case
from rnncheck.cases.grid import default_grid
from rnncheck.errors import described
from rnncheck.frameworks.keras.session import forget_models, quiet_framework
from rnncheck.report.answer import answers


def judged(case: Case, folder: Path) -> list[dict[str, Any]]:
    """Return what became of each use of a case's export."""
    built = rnncheck.build(case)
    path = folder / "model.onnx"
    try:
        with quiet_framework():
            built.model.predict(list(map(np.asarray, built.calls[0])), verbose=0, batch_size=case.N)
            built.model.export(path, format="onnx", verbose=False)
    except Exception as error:  # noqa: BLE001 - whatever the exporter raises is a finding
        return [{"case": str(case), "way": "", "verdict": "not exported", "said": described(error)[:200]}]
    try:
        report = rnncheck.verify(built.model, list(built.calls[0]), against=[path])
    except rnncheck.RnncheckError as error:
        return [
            {"case": str(case), "way": "", "verdict": "not loaded", "said": str(error).replace(f"{path}: ", "")[:300]}
        ]
    entries = [entry for entry in report.entries if entry.backend == path.name]
    return [
        {
            "case": str(case),
            "way": entry.way,
            "verdict": entry.verdict.value,
            "score": max(row.score_max for row in entry.rows),
            "said": str(answers([entry])[0])[:400],
        }
        for entry in entries
    ]


def main() -> None:
    """Export, judge, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="every so many cases; writes nothing unless 1")
    every = parser.parse_args().every
    found: list[dict[str, Any]] = []
    cases = default_grid(0)[::every]
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            found += judged(case, Path(folder))
            forget_models()
            print(found[-1]["verdict"], case, flush=True)
    counts = Counter(each["verdict"] for each in found)
    finite = [each["score"] for each in found if each["verdict"] == "match"]
    result = {
        "cases": len(cases),
        "uses": len(found),
        "verdicts": dict(counts),
        "largest_score": round(max(finite), 2),
        "others": [each for each in found if each["verdict"] != "match"],
    }
    print({name: value for name, value in result.items() if name != "others"})
    if every == 1:
        records.write("exports", result)


if __name__ == "__main__":
    main()
