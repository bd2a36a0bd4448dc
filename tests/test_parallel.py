"""Threads: results in order, failures passed on."""

import os
import threading

import pytest

from rnncheck.checks.threads import threads


@pytest.fixture(autouse=True)
def one_thread_for_each_product(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8])
def test_threads_give_results_in_the_order_of_the_items(count):
    with threads() as mapper:
        squares = list(mapper(lambda item: item * item, range(count)))

    assert squares == [item * item for item in range(count)]


@pytest.mark.skipif("(os.cpu_count() or 1) < 2", reason="one core has one thread")
def test_threads_work_side_by_side():
    both_there = threading.Barrier(2, timeout=30)

    with threads() as mapper:
        workers = set(mapper(lambda item: both_there.wait() >= 0 and threading.get_ident(), range(2)))

    assert len(workers) == 2
    assert threading.get_ident() not in workers


@pytest.mark.parametrize("setting", [None, "2"])
def test_products_that_take_every_core_have_no_threads_beside_them(monkeypatch, setting):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    if setting is not None:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", setting)

    with threads() as mapper:
        workers = set(mapper(lambda item: threading.get_ident(), range(4)))

    assert workers == {threading.get_ident()}


def test_threads_pass_a_failure_on():
    with threads() as mapper, pytest.raises(ZeroDivisionError):
        list(mapper(lambda item: 1 // item, [1, 0, 2]))


@pytest.mark.skipif("not hasattr(os, 'sched_getaffinity')", reason="the system has no such call")
def test_threads_leave_the_process_as_it_is():
    allowed = os.sched_getaffinity(0)

    with threads() as mapper:
        inside = list(mapper(lambda item: os.sched_getaffinity(0), range(4)))

    assert inside == [allowed] * 4
