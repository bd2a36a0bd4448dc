"""Ctrl-C while a command starts: exit code 130, without a traceback."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnncheck.startup import INTERRUPTED, interruptible, is_command

pytestmark = pytest.mark.skipif("not Path('/proc').is_dir()", reason="it reads in /proc how far a process is")


def interrupted(delay):
    """Interrupt a command so many seconds after it began to import; return its exit code and what it said."""
    command = [sys.executable, "-m", "rnncheck", "verify", "--layer", "lstm", "-T", "5,6,7,8,9,10"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            maps = Path(f"/proc/{process.pid}/maps")
            while process.poll() is None and "numpy" not in maps.read_text():
                time.sleep(0.005)
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, err


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.4, 1.0, 2.0])
def test_interrupt_during_start_up_ends_with_130(delay):
    code, err = interrupted(delay)

    assert code == INTERRUPTED
    assert "interrupted" in err
    assert "Traceback" not in err
    assert "Error" not in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("python -m rnncheck verify", True),
        ("python -P -m rnncheck", True),
        ("python bin/rnncheck show", True),
        ("python -m pytest rnncheck", False),
        ("python -W ignore -X dev -m rnncheck", True),
        ("python bin/pytest -m rnncheck", False),
        ("python script.py -m rnncheck", False),
        ("python -c pass -m rnncheck", False),
        ("python script.py rnncheck", False),
        ("python -m loky.backend", False),
        ("python", False),
    ],
)
def test_command_is_told_by_how_python_was_started(words, expected):
    assert is_command(words.split()) is expected


@pytest.mark.parametrize("at_once", [False, True])
def test_other_programs_keep_their_handler(at_once):
    before = signal.getsignal(signal.SIGINT)

    with interruptible(at_once=at_once):
        assert signal.getsignal(signal.SIGINT) is before
