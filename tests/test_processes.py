"""Processes of their own end with their parent, and import nothing from the folder that they run in."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[1] / "rnncheck" / "demo"

# A job that says which process runs it, and then takes long.
SCRIPT = """
import os, sys, time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from rnncheck.jobs.processes import Process


class Long:
    runner = None

    @contextmanager
    def in_keras(self, calls):
        import h5py, random

        Path("started").write_text(str(os.getpid()))
        os.rename("started", "pid")
        time.sleep(120)
        yield


Process("tensorflow").run(SimpleNamespace(subject=Long(), calls=()))
"""

# What a downloaded folder may hold beside a model.
MODULES = ("h5py", "random", "keras", "numpy", "tensorflow", "json")


def hostile(folder):
    """Put modules into a folder that leave a file when they are imported."""
    for name in MODULES:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'executed')!r}, 'a').write({name!r})\n")


def until(condition):
    end = time.monotonic() + 120  # so that a failure does not last for ever
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", maxsplit=1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif("not Path('/proc').is_dir()", reason="it reads in /proc which processes there are")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_process_ends_soon_after_its_parent(end, tmp_path):
    hostile(tmp_path)
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}  # as the command line sets it
    with subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment) as parent:
        until((tmp_path / "pid").exists)
        pid = int((tmp_path / "pid").read_text())
        assert runs(pid)
        parent.send_signal(end)

    until(lambda: not runs(pid))
    assert not (tmp_path / "executed").exists()


def test_python_m_executes_nothing_beside_a_model(tmp_path):
    shutil.copy(DEMO / "sine.keras", tmp_path)
    hostile(tmp_path)
    words = [sys.executable, "-m", "rnncheck", "show", "sine.keras"]

    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "next_value" in done.stdout
    assert not (tmp_path / "executed").exists()


@pytest.mark.long  # it loads TensorFlow in a process of its own
def test_command_executes_nothing_beside_a_model(tmp_path):
    import keras

    keras.Sequential([keras.Input((4, 3)), keras.layers.GRU(2)]).save(tmp_path / "model.keras")
    hostile(tmp_path)
    command = tmp_path / "bin" / "rnncheck"  # as pip installs it
    command.parent.mkdir()
    command.write_text("from rnncheck.cli import main\n\nmain()\n")
    words = [sys.executable, command, "verify", "model.keras", "--backend", "tensorflow"]

    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert " match" in done.stdout
    assert not (tmp_path / "executed").exists()
