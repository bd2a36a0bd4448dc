"""Record models under Keras 2, in environments of their own; `make fixtures` runs it.

    python -m experiments.keras2

For each TensorFlow in RELEASES: make .venv-keras2/VERSION (once, a few minutes, 1 to 2 GB; git ignores it), run
experiments/keras2_record.py there, and put what it records into fixtures/keras2/VERSION. It needs Python 3.11, the
only one that these TensorFlows and this project share, and Linux on x86-64: elsewhere the wheels have other names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures" / "keras2"
ENVIRONMENTS = ROOT / ".venv-keras2"
RECORDER = Path(__file__).parent / "keras2_record.py"
# What pip finds for these TensorFlows, pinned so that it stays the same.
RELEASES = {
    "2.12.1": ("tensorflow-cpu==2.12.1", "keras==2.12.0", "numpy==1.24.3", "h5py==3.16.0"),
    "2.15.1": ("tensorflow-cpu==2.15.1", "keras==2.15.0", "numpy==1.26.4", "h5py==3.16.0"),
}
# No chatter, and the plain kernels of the processor: no accelerator, no fused kernels that vary with the processor.
SETTINGS = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "TF_ENABLE_ONEDNN_OPTS": "0"}


def python_311() -> str:
    """Return a Python 3.11: this one, or the one on the path.

    Raises:
        SystemExit: when there is none.
    """
    found = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if found is None:
        expected = "TensorFlow 2.12 and 2.15 need Python 3.11"
        raise SystemExit(f"python: {sys.version.split()[0]}; {expected}. Put python3.11 on the path.")
    return found


def environment(release: str) -> Path:
    """Return the Python of the environment of `release`; make it when it is not there, or for other pins."""
    folder, pins = ENVIRONMENTS / release, "\n".join(RELEASES[release])
    python, installed = folder / "bin" / "python", folder / "installed.txt"
    if not installed.exists() or installed.read_text() != pins:
        print(f"installing TensorFlow {release} into {folder.relative_to(ROOT)} (once; a few minutes)")
        subprocess.run([python_311(), "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", *RELEASES[release]]
        subprocess.run(pip, check=True)
        installed.write_text(pins)
    return python


def record(release: str) -> None:
    """Record every model under TensorFlow `release`, in place of what was recorded before."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(environment(release)), "-I", str(RECORDER), folder]
        subprocess.run(command, check=True, env={**os.environ, **SETTINGS})
        shutil.rmtree(FIXTURES / release, ignore_errors=True)
        shutil.copytree(folder, FIXTURES / release)


def main() -> None:
    """Record every release."""
    for release in RELEASES:
        record(release)


if __name__ == "__main__":
    main()
