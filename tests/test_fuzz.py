"""Files that once crashed the reader, and a few mutations of `make fuzz`: each is read or refused."""

import contextlib
import time

import pytest

from experiments import fuzz
from experiments.fuzz import CRASHERS, Mutation, drawn, outcome
from experiments.mutations import load_models
from rnncheck.errors import InputError, RnncheckError


@pytest.mark.parametrize("path", sorted(CRASHERS.iterdir()), ids=lambda path: path.name)
def test_file_that_crashed_once_is_read_or_refused(path):
    with contextlib.suppress(RnncheckError):
        fuzz.read_file(path)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return load_models(tmp_path_factory.mktemp("none"))


def test_mutated_files_are_read_or_refused(models, tmp_path):
    found = {seed: outcome(drawn(seed, models, tmp_path)) for seed in range(300)}

    assert {seed: what for seed, what in found.items() if what not in {"accepted", "refused"}} == {}
    assert set(found.values()) == {"accepted", "refused"}


def test_seed_draws_the_same_file_again(models, tmp_path):
    for seed in range(40):
        first, second = (drawn(seed, models, tmp_path) for _ in range(2))

        assert first.content() == second.content()


def reading(read):
    return outcome(Mutation("file", ".keras", read, bytes))


def test_anything_but_a_refusal_is_a_crash(monkeypatch):
    def refuse():
        raise InputError("got this; expected that.")

    assert reading(refuse) == "refused"
    assert reading(lambda: 0) == "accepted"
    assert reading(lambda: 1 // 0).startswith("ZeroDivisionError at test_fuzz.py:")
    monkeypatch.setattr(fuzz, "SECONDS", 0.05)
    kept = fuzz.signal.signal(fuzz.signal.SIGALRM, fuzz._too_slow)
    try:
        assert reading(lambda: time.sleep(5)).startswith("TooSlowError at ")
    finally:
        fuzz.signal.signal(fuzz.signal.SIGALRM, kept)
