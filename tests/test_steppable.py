"""A reader with a debugger gets there fast: at most three step-ins from a call to the arithmetic that it stands for.

A step-in is a Python function entered on the way down. Frames that were entered and left again on the way are stepped over.
"""
import sys

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import autograd, functional as F

pytestmark = pytest.mark.usefixtures("on_arrays")

x = tg.tensor(np.arange(1.0, 7.0).reshape(2, 3), requires_grad=True)
sequence, state = tg.ones(4, 2, 3, requires_grad=True), tg.zeros(2, 1)
weights = tg.ones(4, 3), tg.ones(4, 1), tg.ones(4)
image, kernel = tg.ones(1, 2, 5, 5, requires_grad=True), tg.ones(3, 2, 3, 3, requires_grad=True)

CALLS = {
    "tg.exp(x)": lambda: tg.exp(x),
    "x.exp()": lambda: x.exp(),
    "x + x": lambda: x + x,
    "2 * x": lambda: 2 * x,
    "x.sum()": lambda: x.sum(),
    "tg.logsumexp(x, axis=1)": lambda: tg.logsumexp(x, axis=1),
    "x @ x.T": lambda: tg.matmul(x, np.ones((3, 2))),
    "F.linear(x, x)": lambda: F.linear(x, x),
    "x[0]": lambda: x[0],
    "x.reshape(3, 2)": lambda: x.reshape((3, 2)),
    "tg.where(mask, x, 0.0)": lambda: tg.where(np.ones(3, bool), x, 0.0),
    "tg.concatenate([x, x])": lambda: tg.concatenate([x, x]),
    "F.conv2d(image, kernel)": lambda: F.conv2d(image, kernel),
    "F.layer_norm(x, 3)": lambda: F.layer_norm(x, 3),
    "F.rms_norm(x, 3)": lambda: F.rms_norm(x, 3),
    "F.batch_norm(image)": lambda: F.batch_norm(image),
    "F.group_norm(image, 1)": lambda: F.group_norm(image, 1),
    "F.group_norm_silu(image, 1)": lambda: F.group_norm_silu(image, 1),
    "F.softmax(x)": lambda: F.softmax(x),
    "F.log_softmax(x)": lambda: F.log_softmax(x),
    "F.scaled_dot_product_attention(x, x, x)": lambda: F.scaled_dot_product_attention(x, x, x),
    "F.lstm(sequence, state, state, *weights)": lambda: F.lstm(sequence, state, state, *weights)[0],
    "F.max_pool2d(image, 2)": lambda: F.max_pool2d(image, 2),
    "F.avg_pool2d(image, 3, padding=1)": lambda: F.avg_pool2d(image, 3, padding=1),
    "F.upsample_nearest2d(image, 2)": lambda: F.upsample_nearest2d(image, 2),
    "F.embedding(labels, x)": lambda: F.embedding(np.array([0, 1]), x),
    "F.cross_entropy(x, labels)": lambda: F.cross_entropy(x, np.array([0, 2])),
}


def stack_at(run, name):
    """The functions on the stack, outermost first, when `name` of a Function is first entered while `run` runs."""
    found = []

    def tracer(frame, event, argument):
        owner = frame.f_locals.get("self")
        if event == "call" and frame.f_code.co_name == name and isinstance(owner, autograd.Function) and not found:
            while frame is not None and frame.f_code is not run.__code__:
                found.append(frame.f_code)
                frame = frame.f_back
        return None

    sys.settrace(tracer)
    try:
        run()
    finally:
        sys.settrace(None)
    assert found, f"{name} was never entered"
    return found[::-1]


@pytest.fixture(autouse=True)
def no_other_tracer():
    """Coverage and debuggers use the same hook; give it back to them."""
    before = sys.gettrace()
    yield
    sys.settrace(before)


@pytest.mark.parametrize("text", CALLS)
def test_forward_in_three_step_ins(text):
    names = [code.co_name for code in stack_at(CALLS[text], "forward")]
    assert len(names) <= 3 and names[-2:] == ["apply", "forward"], names


@pytest.mark.parametrize("text", CALLS)
def test_backward_in_three_step_ins(text):
    y = CALLS[text]()
    gradient = np.ones(y.shape, y.dtype)

    def run():
        y.backward(gradient)

    names = [code.co_name for code in stack_at(run, "backward")]
    assert len(names) <= 3 and names == ["backward", "run_backward", "backward"], names


@pytest.mark.parametrize("text", CALLS)
def test_every_frame_on_the_way_is_a_file_of_the_package(text):
    y = CALLS[text]()

    def run():
        y.backward(np.ones(y.shape, y.dtype))

    for code in stack_at(CALLS[text], "forward") + stack_at(run, "backward"):
        assert "tinygrad_edu" in code.co_filename and code.co_name not in ("wrapper", "__call__", "<module>"), code


def test_the_counter_sees_a_detour():
    def relay(*arguments):
        return detour(*arguments)

    def detour(*arguments):
        return tg.exp(*arguments)

    assert [code.co_name for code in stack_at(lambda: relay(x), "forward")] == ["relay", "detour", "exp", "apply", "forward"]
