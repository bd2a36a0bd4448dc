"""What experiments measured, kept for the documents and the tests that read it: `experiments/results/NAME.json`.

The environment variable RNNCHECK_RESULTS names another folder, for a run whose results are not to be kept.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

KEPT = Path(__file__).parent / "results"
ELSEWHERE = "RNNCHECK_RESULTS"


def read(name: str) -> Any:
    """Return what was kept of an experiment, as JSON has it."""
    return json.loads((KEPT / f"{name}.json").read_text())


def exists(name: str) -> bool:
    """Whether something was kept of an experiment."""
    return (KEPT / f"{name}.json").is_file()


def write(name: str, result: Any) -> Path:
    """Write what an experiment measured, and return where."""
    path = Path(os.environ.get(ELSEWHERE, KEPT)) / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path
