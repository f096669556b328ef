"""Datasets and the loader: nothing lost, nothing twice, the same batches whoever makes them, and no thread left behind."""
import threading
import traceback

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_edu import Tensor, backend
from tinygrad_edu.data import ConcatDataset, DataLoader, Subset, TensorDataset, default_collate, random_split


def loader_threads():
    return [thread for thread in threading.enumerate() if "DataLoader" in thread.name]


@pytest.fixture(autouse=True)
def no_thread_left():
    yield
    assert not loader_threads()


def numbers(loader):
    """All items of one pass, in order."""
    return [int(i) for batch in loader for i in batch.data]


# ---------------------------------------------------------------- datasets

def test_tensor_dataset():
    x, y = np.arange(6.0).reshape(3, 2), Tensor(np.array([7, 8, 9]))
    both, alone = TensorDataset(x, y), TensorDataset(x)
    assert len(both) == 3 and both[1][0].tolist() == [2, 3] and both[-1][1] == 9
    assert alone[2].tolist() == [4, 5]
    assert [part.tolist() for part in both.rows([2, 0])] == [[[4, 5], [0, 1]], [9, 7]]
    with pytest.raises(IndexError):
        both[3]


@pytest.mark.parametrize("arrays", [(), (np.float64(1),), (np.zeros(3), np.zeros(4))])
def test_tensor_dataset_refuses(arrays):
    with pytest.raises(ValueError, match="got shapes .* expected"):
        TensorDataset(*arrays)


def test_subset_and_concat():
    letters = Subset("abcdef", [5, 0, 0])
    assert len(letters) == 3 and list(letters[i] for i in range(3)) == ["f", "a", "a"]
    both = ConcatDataset([letters, "", [1, 2]])
    assert len(both) == 5 and [both[i] for i in range(-5, 5)] == ["f", "a", "a", 1, 2] * 2
    assert len(ConcatDataset([])) == 0
    for index in (5, -6):
        with pytest.raises(IndexError, match="got index .* expected"):
            both[index]
    for wrong in ([3], [-1], [[0]]):
        with pytest.raises(ValueError, match="got indices .* expected"):
            Subset("abc", wrong)


@given(total=st.integers(0, 50), cut=st.integers(0, 50), seed=st.none() | st.integers(0, 3))
def test_random_split_is_a_partition(total, cut, seed):
    first, second = random_split(np.arange(total), [min(cut, total), total - min(cut, total)], seed)
    assert (len(first), len(second)) == (min(cut, total), total - min(cut, total))
    assert sorted(int(part[i]) for part in (first, second) for i in range(len(part))) == list(range(total))


def test_random_split_by_shares_as_pytorch_counts():
    assert [len(part) for part in random_split(range(11), [0.5, 0.3, 0.2])] == [6, 3, 2]          # 5.5 3.3 2.2
    assert [len(part) for part in random_split(range(10), [0.7, 0.3])] == [7, 3]
    assert [len(part) for part in random_split(range(1), [1])] == [1]
    same = [random_split(range(30), [20, 10], seed=5)[0].indices.tolist() for _ in range(2)]
    assert same[0] == same[1] != random_split(range(30), [20, 10], seed=6)[0].indices.tolist()


@pytest.mark.parametrize("lengths", [[3, 3], [0.5, 0.6], [-1, 6], []])
def test_random_split_refuses(lengths):
    with pytest.raises(ValueError, match="got lengths .* expected"):
        random_split(range(5), lengths)


def test_collate():
    x, pair = default_collate([(np.ones(2), (1, 2.5)), (np.zeros(2), (3, 4.5))])
    assert x.tolist() == [[1, 1], [0, 0]] and x.dtype == np.float64
    assert pair[0].tolist() == [1, 3] and pair[0].dtype == np.int64 and pair[1].dtype == np.float32
    for wrong in ([np.ones(2), np.ones(3)], ["a", "b"], [(1,), (1, 2)]):
        with pytest.raises(ValueError, match="got .* expected"):
            default_collate(wrong)


# ---------------------------------------------------------------- the loader

@given(rows=st.integers(0, 30), batch_size=st.integers(1, 12), shuffle=st.booleans(), drop_last=st.booleans(),
       prefetch=st.integers(0, 3))
def test_every_item_once(rows, batch_size, shuffle, drop_last, prefetch):
    x = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    loader = DataLoader(TensorDataset(x, np.arange(rows)), batch_size, shuffle, drop_last, seed=1, prefetch=prefetch)
    got = list(loader)
    left = rows % batch_size
    assert [len(ids) for _, ids in got] == [batch_size] * (rows // batch_size) + [left] * (left > 0 and not drop_last)
    assert len(loader) == len(got) and all(type(part) is Tensor for pair in got for part in pair)
    assert all(np.array_equal(rows.data, x[ids.data]) for rows, ids in got)

    seen = [int(i) for _, ids in got for i in ids.data]
    assert len(set(seen)) == len(seen) and (shuffle or seen == list(range(len(seen))))


def test_any_sequence_is_a_dataset():
    assert [batch.data.tolist() for batch in DataLoader([1, 2, 3], 2)] == [[1, 2], [3]]
    assert [batch.shape for batch in DataLoader(np.ones((3, 2)), 2)] == [(2, 2), (1, 2)]
    assert [batch.shape for batch in DataLoader(Subset(np.ones((3, 2)), [0, 2]), 2)] == [(2, 2)]


def test_epochs_differ_and_repeat_with_the_seed():
    loader, again = (DataLoader(range(50), 8, shuffle=True, seed=3) for _ in range(2))
    epochs = [numbers(loader) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2] and [numbers(again) for _ in range(3)] == epochs
    assert numbers(DataLoader(range(50), 8, shuffle=True, seed=4)) != epochs[0]

    backend.manual_seed(0)
    first = DataLoader(range(50), 8, shuffle=True)
    backend.manual_seed(0)
    assert numbers(first) == numbers(DataLoader(range(50), 8, shuffle=True))


def noisy(x):
    return x + backend.generator().normal(size=x.shape)


def test_random_transforms_do_not_depend_on_who_makes_the_batch():
    def run(prefetch):
        backend.manual_seed(0)
        loader = DataLoader(np.zeros((9, 2)), 2, shuffle=True, transform=noisy, prefetch=prefetch)
        return [(batch.data.tolist(), backend.generator().random()) for batch in loader]     # the caller draws as well
    assert run(0) == run(1) == run(4)


def test_transform_gets_the_arrays_of_a_batch():
    loader = DataLoader(TensorDataset(np.arange(4.0), np.arange(4)), 2, transform=lambda x, y: (-x, y))
    assert [(x.data.tolist(), y.data.tolist()) for x, y in loader] == [([0, -1], [0, 1]), ([-2, -3], [2, 3])]


def test_collate_fn_may_pad_and_may_return_anything():
    def pad(words):
        width = max(map(len, words))
        return {"ids": np.array([[ord(c) for c in word.ljust(width)] for word in words]), "words": words}
    (batch,) = DataLoader(["ab", "c"], 2, collate_fn=pad)
    assert batch["ids"].data.tolist() == [[97, 98], [99, 32]] and batch["words"] == ["ab", "c"]


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("stop", [0, 1, 4, 5, 7])
def test_resume_sees_the_same_batches(prefetch, stop):
    def fresh():
        return DataLoader(TensorDataset(np.arange(18.0)), 4, shuffle=True, transform=noisy, seed=7, prefetch=prefetch)

    def endless(loader, epochs):
        while loader.epoch < epochs:
            for batch in loader:
                yield batch.data.tolist()
    whole = list(endless(fresh(), 3))
    assert len(whole) == 15

    loader = fresh()
    walk = endless(loader, 3)
    for _ in range(stop):
        next(walk)
    state = loader.state_dict()
    walk.close()
    resumed = DataLoader(TensorDataset(np.arange(18.0)), 4, shuffle=True, transform=noisy, seed=99, prefetch=prefetch)
    resumed.load_state_dict(state)
    assert list(endless(resumed, 3)) == whole[stop:]


def test_leaving_a_loop_early_starts_a_new_epoch():
    loader = DataLoader(range(10), 3, seed=0)
    for batch in loader:
        break
    assert loader.state_dict() == {"seed": 0, "epoch": 0, "batch": 1}
    assert numbers(loader) == list(range(10)) and loader.state_dict() == {"seed": 0, "epoch": 2, "batch": 0}


# ---------------------------------------------------------------- the thread

class Numbers:
    """The numbers 0..n-1, of which one cannot be had."""

    def __init__(self, n, bad=None):
        self.n, self.bad = n, bad

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index == self.bad:
            raise KeyError(f"item {index} is bad")
        return index


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_an_error_reaches_the_caller_with_its_traceback(prefetch):
    loader, got = DataLoader(Numbers(10, bad=6), 2, prefetch=prefetch), []
    with pytest.raises(KeyError, match="item 6 is bad") as error:
        for batch in loader:
            got += batch.data.tolist()
    assert got == [0, 1, 2, 3, 4, 5]
    names = [frame.name for frame in traceback.extract_tb(error.value.__traceback__)]
    assert names[-1] == "__getitem__" and "_make" in names and names[0].startswith("test_an_error")


def test_a_thread_that_exits_does_not_hang_the_caller():
    def leave(x):
        raise SystemExit(3)
    with pytest.raises(SystemExit):
        list(DataLoader(range(4), 2, transform=leave, prefetch=1))


@pytest.mark.parametrize("prefetch", [1, 2, 5])
def test_the_thread_is_ahead_by_prefetch_and_no_more(prefetch):
    begun, too_early, made = 0, [], threading.Semaphore(0)

    class Watched(Numbers):
        def __getitem__(self, index):
            if index >= begun + prefetch:
                too_early.append(index)
            made.release()
            return index

    walk = iter(DataLoader(Watched(40), 1, prefetch=prefetch))
    for begun in range(1, 30):
        assert next(walk).data.tolist() == [begun - 1]
        if begun == 1:                                      # without being asked again it makes `prefetch` more
            assert all(made.acquire(timeout=10) for _ in range(1 + prefetch))
    assert len(loader_threads()) == 1 and not too_early
    walk.close()
    assert not loader_threads()


def test_abandoning_the_iteration_ends_the_thread():
    for _ in range(20):
        for batch in DataLoader(range(100), 1, prefetch=3):
            break
        assert not loader_threads()
    walk = iter(DataLoader(range(100), 1, prefetch=3))      # never started: no thread yet
    del walk
    with pytest.raises(ZeroDivisionError):
        for batch in DataLoader(range(100), 1, prefetch=3):
            1 / 0


def test_refuses():
    for settings in ({"batch_size": 0}, {"prefetch": -1}):
        with pytest.raises(ValueError, match="got batch_size .* expected"):
            DataLoader([1], **settings)


def test_drawing_from_is_of_one_thread():
    backend.manual_seed(0)
    expected = backend.generator().random()
    backend.manual_seed(0)
    with backend.drawing_from(np.random.default_rng(5)):
        with backend.drawing_from(np.random.default_rng(6)):
            assert backend.generator().random() == np.random.default_rng(6).random()
        assert backend.generator().random() == np.random.default_rng(5).random()
        other = []
        thread = threading.Thread(target=lambda: other.append(backend.generator().random()))
        thread.start()
        thread.join()
    assert other == [expected]
