"""What tests share."""

import sys
from typing import NamedTuple

import numpy as np
import pytest

from rnncheck.cli import main


def pytest_collection_modifyitems(items):
    """Keep the tests of a file in one process, which shares its fixtures; begin with the README's, the slowest."""
    for item in items:
        if item.path.stem != "test_readme":
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=lambda item: item.path.stem != "test_readme")


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
