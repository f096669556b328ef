"""Work shared among threads: every part once, answers in order, errors and one BLAS thread inside, serial where it must be."""
import threading

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import threads

LARGE = np.zeros((101, 4))
ENOUGH = 1 << 19            # numbers for each item: certainly worth sharing


@pytest.fixture(autouse=True)
def three_threads(monkeypatch):
    monkeypatch.setattr(threads, "_count", 3)


def test_every_item_is_worked_on_once_and_answers_keep_their_order():
    seen = np.zeros(101, int)

    def work(part):
        seen[part] += 1
        return part.start, threading.current_thread().name

    starts, names = zip(*threads.in_threads(work, LARGE, ENOUGH))
    assert starts == (0, 33, 67) and len(set(names)) >= 2
    assert (seen == 1).all()


@pytest.mark.parametrize("ahead, starts", [(0, (0, 33, 67)), (2 * ENOUGH, (0, 35, 68)), (1000 * ENOUGH, (0, 99, 100))])
def test_the_caller_may_do_more_but_everybody_does_something(ahead, starts):
    parts = threads.in_threads(lambda part: part, LARGE, ENOUGH, ahead)
    assert tuple(part.start for part in parts) == starts and [part.stop for part in parts] == [*starts[1:], 101]


@pytest.mark.parametrize("array, numbers", [(LARGE, 1), (LARGE[:1], ENOUGH), (LARGE[:0], ENOUGH)])
def test_small_work_is_not_shared(array, numbers):
    assert threads.in_threads(lambda part: part, array, numbers) == [slice(0, len(array))]


def test_one_thread_does_all():
    tg.set_threads(1)
    assert threads.in_threads(lambda part: part, LARGE, ENOUGH) == [slice(0, 101)]


def test_work_inside_work_is_not_shared_again():
    inner = threads.in_threads(lambda part: threads.in_threads(lambda p: p, LARGE, ENOUGH), LARGE, ENOUGH)
    assert inner == [[slice(0, 101)]] * 3
    assert len(threads.in_threads(lambda part: part, LARGE, ENOUGH)) == 3          # and the flag is taken back


@pytest.mark.parametrize("start", [0, 33])
def test_an_error_in_any_part_is_raised_after_all_have_ended(start):
    ended = []

    def work(part):
        if part.start == start:
            raise KeyError("here")
        ended.append(part.start)

    with pytest.raises(KeyError, match="here"):
        threads.in_threads(work, LARGE, ENOUGH)
    assert sorted(ended) == sorted({0, 33, 67} - {start})


def test_blas_uses_one_thread_inside_and_as_many_as_before_afterwards():
    if threads._openblas() is None:
        pytest.skip("NumPy without OpenBLAS")
    _, get = threads._openblas()
    before = get()
    assert threads.in_threads(lambda part: get(), LARGE, ENOUGH) == [1, 1, 1]
    assert get() == before


def test_the_number_of_threads_comes_from_the_environment(monkeypatch):
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "TINYGRAD_EDU_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert threads._first_count() >= 1
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads._first_count() == 5
    monkeypatch.setenv("TINYGRAD_EDU_THREADS", "4")
    assert threads._first_count() == 4
    monkeypatch.setenv("PMI_SIZE", "2")
    assert threads._first_count() == 1                                              # a rank has one core

    with pytest.raises(ValueError, match="set_threads: got 0, expected at least 1"):
        tg.set_threads(0)


def test_a_product_and_a_function_shared_are_the_same_numbers(monkeypatch):
    monkeypatch.setattr(threads, "_WORTH_SHARING", 1)
    monkeypatch.setattr(threads, "_LARGE_PRODUCT", 1)
    rng = np.random.default_rng(0)
    for m, k, n in ((7, 5, 3), (1, 4, 2), (0, 3, 2), (5, 0, 2)):
        a, b = rng.standard_normal((k, m)).T, rng.standard_normal((k, n))
        np.testing.assert_allclose(threads.product(a, b), a @ b, rtol=1e-14)
    assert threads.product(np.ones((3, 2), "float32"), np.ones((2, 2), "float32")).dtype == "float32"
    for x in (rng.standard_normal((5, 3)), rng.standard_normal((3, 5)).T, np.ones((0, 2)), np.float64(2), 2.0, np.arange(4)):
        np.testing.assert_array_equal(threads.each(np.exp, x), np.exp(x))
