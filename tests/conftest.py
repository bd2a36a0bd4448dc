"""What tests share."""

import os
import sys
from typing import NamedTuple

import numpy as np
import pytest

from rnncheck.cli import main

os.environ.pop("GITHUB_ACTIONS", None)  # what the tests run is no job of its own
os.environ.pop("COLUMNS", None)  # xdist sets it, and what is printed would be as wide


def pytest_collection_modifyitems(items):
    """Begin with the slowest files, so that no process works on one when the others have nothing left."""
    slowest = ["test_verify", "test_backends", "test_faults", "test_compare_command", "test_relations", "test_cli"]
    items.sort(key=lambda item: slowest.index(item.path.stem) if item.path.stem in slowest else len(slowest))


class Finished(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def rnncheck_command(monkeypatch, capsys):
    """Run the command line in this process."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["rnncheck", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return Finished(code, *capsys.readouterr())

    return run


@pytest.fixture
def rng():
    return np.random.default_rng(20260801)
