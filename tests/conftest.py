"""What tests share."""

import os
import random
import sys
from typing import NamedTuple

import numpy as np
import pytest

from rnncheck.cli import main

os.environ.pop("GITHUB_ACTIONS", None)  # what the tests run is no job of its own
os.environ.pop("COLUMNS", None)  # xdist sets it, and what is printed would be as wide


@pytest.hookimpl(tryfirst=True)  # before pytest looks at the marks
def pytest_collection_modifyitems(items):
    """Leave cases to make test-long, and begin with the slowest files, so that both processes end at once."""
    functions = {}
    for item in items:
        if item.get_closest_marker("few") and not item.get_closest_marker("long"):
            functions.setdefault((item.path, item.originalname), []).append(item)
    for cases in functions.values():
        (count,) = cases[0].get_closest_marker("few").args
        chosen = random.Random(0).sample(range(len(cases)), min(count, len(cases)))  # noqa: S311
        for place, item in enumerate(cases):
            if place not in chosen:
                item.add_marker("long")
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
