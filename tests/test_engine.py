"""The engine on cases small enough to check by hand: values, gradients of every order, modes, in-place writes, size."""
import gc
import os
import subprocess
import sys
import weakref

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Elementwise, Function, Kernel, Tensor, functional as F
from tinygrad_edu.ops.elementwise import Multiply


def leaf(values, dtype=np.float64):
    return tg.tensor(np.array(values, dtype), requires_grad=True)


def same(x, expected):
    assert np.array_equal(x.data, np.asarray(expected)), f"got {x}, expected {expected}"


# ---------------------------------------------------------------- first order

def test_a_node_used_twice_gets_both_gradients():
    a, b = leaf(2), leaf(3)
    c, d = a * b, a + b
    y = (c + d) + c * d
    y.backward()
    assert (y.item(), a.grad.item(), b.grad.item()) == (41, 25, 19)


def test_the_same_input_twice():
    x = leaf([1, 2])
    (x * x + x / x + (x - x)).sum().backward()
    same(x.grad, [2, 4])


def test_two_layers_by_hand():
    x, t = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([[1.0], [0.0]])
    w, v = leaf([[0.5, -0.25], [0.125, 0.75]]), leaf([[1.0], [-2.0]])
    h = tg.tanh(x @ w)
    loss = ((h @ v - t) ** 2).mean()
    loss.backward()

    gy = 2 * (h.data @ v.data - t) / 2
    assert np.allclose(v.grad.data, h.data.T @ gy, rtol=1e-14, atol=0)
    assert np.allclose(w.grad.data, x.T @ (gy @ v.data.T * (1 - h.data**2)), rtol=1e-14, atol=0)


def test_gradients_add_up_over_backward_calls_and_none_shares_memory():
    x = leaf([1, 2])
    y = (x * 3).sum()
    y.backward(retain_graph=True)
    first = x.grad
    y.backward()
    same(x.grad, [6, 6])
    same(first, [3, 3])

    upstream = np.ones(2)
    a, b = leaf([1, 2]), leaf([3, 4])
    (a + b).backward(upstream)
    arrays = [upstream, a.grad.data, b.grad.data, a.data, b.data]
    assert not any(np.shares_memory(p, q) for i, p in enumerate(arrays) for q in arrays[:i])


def test_adding_gradients_up_never_writes_into_a_shared_one():
    x, upstream = leaf([1, 2]), np.ones(2)
    a, b = x * 1, x * 2
    older = a * 10
    (older + (a + b)).backward(upstream)                        # a and b get one array, then a gets more
    same(x.grad, [13, 13])
    same(upstream, np.ones(2))


def test_backward_of_a_leaf_is_the_gradient_itself():
    x = leaf(2)
    x.backward()
    x.backward()
    assert x.grad.item() == 2 and tg.grad(x, x)[0].item() == 1


def test_a_gradient_to_start_from():
    x = leaf([1, 2])
    (x * x).backward(np.array([10.0, 100.0]))
    same(x.grad, [20, 400])
    y, z = x * 2, x * x
    same(tg.grad([y, z], x, [np.array([1.0, 0.0]), tg.tensor(np.array([0.0, 1.0]))], retain_graph=True)[0], [2, 4])
    same(tg.grad([y.sum(), z.sum()], [x], retain_graph=True)[0], [4, 6])
    same(tg.grad([y.sum(), (y * y).sum()], y)[0], [5, 9])       # an output that leads to another output


def test_grad_of_interior_tensors_that_depend_on_each_other():
    a = leaf(2)
    b = a * a
    c = b * b + a
    ga, gb, gc_ = tg.grad(c, (a, b, c))
    assert (ga.item(), gb.item(), gc_.item()) == (33, 8, 1) and a.grad is None and b.grad is None


def test_grad_computes_only_what_was_asked():
    visited = []

    class Watched(Multiply):
        def backward(self, gy):
            visited.append(self.label)
            return super().backward(gy)

    def times(x, factor, label):
        node = Watched()
        node.label = label
        return node.apply(x, factor)

    a, b = leaf(2), leaf(3)
    c = times(a, 5.0, "below")
    y = times(c, 2.0, "path") + times(b, 7.0, "other")
    assert tg.grad(y, c)[0].item() == 2 and visited == ["path"]
    assert tg.grad(c, a)[0].item() == 5                         # its own graph was not freed on the way


def test_grad_touches_no_grad_attribute():
    x = leaf(2)
    y = (x * x).retain_grad()
    tg.grad(y * y, (x, y))
    assert x.grad is None and y.grad is None


def test_grad_of_something_unused():
    x, other = leaf(2), leaf(3)
    with pytest.raises(RuntimeError, match=r"grad: the outputs do not depend on input 1 \(shape \(\)\).*allow_unused=True"):
        tg.grad(x * x, (x, other))
    gx, gother = tg.grad(x * x, (x, other), allow_unused=True)
    assert gx.item() == 4 and gother is None


def test_jacobian_has_the_shapes_of_output_and_input():
    a, x = np.arange(6.0).reshape(2, 3), np.array([1.0, 2.0, -1.0])
    np.testing.assert_array_equal(tg.jacobian(lambda x: tg.tensor(a) @ x, x).numpy(), a)
    outer = tg.jacobian(lambda x: x[:, None] * x[:2], tg.tensor(x)).numpy()                 # y_ij = x_i x_j
    eye = np.eye(3)
    np.testing.assert_array_equal(outer, eye[:, None] * x[:2, None] + x[:, None, None] * eye[:2])
    first = tg.jacobian(lambda x: tg.stack([x[0], tg.tensor(5.0)]), x).numpy()               # a constant entry has slope 0
    np.testing.assert_array_equal(first, [[1, 0, 0], [0, 0, 0]])
    with tg.no_grad():
        assert tg.jacobian(lambda x: (x * x).sum(), x).numpy().tolist() == [2, 4, -2]
    with pytest.raises(RuntimeError, match="jacobian: the function's output does not depend on its input"):
        tg.jacobian(lambda x: tg.tensor(a), x)


def test_retain_graph_and_the_second_time_without_it():
    x = leaf(3)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 12
    with pytest.raises(RuntimeError, match="Multiply: this part of the graph was freed by an earlier backward; pass retain_graph"):
        y.backward()
    assert x.grad.item() == 12 and repr(y.creator) == "<Multiply, freed>"


def test_retain_grad_keeps_interior_gradients():
    x = leaf(3)
    y = (x * 2).retain_grad()
    z = y * y
    z.backward(retain_graph=True)
    assert y.grad.item() == 12 and z.grad is None
    z.backward()
    assert y.grad.item() == 24
    with pytest.raises(RuntimeError, match="retain_grad"):
        tg.tensor(1.0).retain_grad()


def test_detach_stops_the_gradient_and_shares_the_values():
    x = leaf([1, 2])
    y = x.detach()
    assert not y.requires_grad and y.is_leaf and np.shares_memory(x.data, y.data)
    (x * x.detach()).sum().backward()
    same(x.grad, [1, 2])


# ---------------------------------------------------------------- higher order

def test_third_order():
    x = leaf([0.5, -1.5])
    y = x**4
    for expected in (4 * x.data**3, 12 * x.data**2, 24 * x.data, 24 + 0 * x.data):
        (y,) = tg.grad(y.sum(), x, create_graph=True)
        assert np.allclose(y.data, expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("f, second", [(tg.exp, np.exp), (tg.sqrt, lambda x: -0.25 * x**-1.5), (tg.log, lambda x: -(x**-2)),
                                       (tg.tanh, lambda x: -2 * np.tanh(x) * (1 - np.tanh(x) ** 2))])
def test_second_derivatives_through_inputs_and_outputs(f, second):
    x = leaf([0.5, 1.5])
    (g,) = tg.grad(f(x).sum(), x, create_graph=True)
    assert np.allclose(tg.grad(g.sum(), x)[0].data, second(x.data), rtol=1e-14, atol=0)


def test_second_derivative_with_a_detached_factor():
    x = leaf(3)
    (g,) = tg.grad(x * x * x.detach(), x, create_graph=True)            # 2 x c, c = 3 held fixed
    assert g.item() == 18 and tg.grad(g, x)[0].item() == 6
    (g,) = tg.grad(x * x.detach(), x, create_graph=True)
    assert g.item() == 3 and not g.requires_grad


def test_backward_with_create_graph_gives_a_gradient_with_a_graph():
    x = leaf(2)
    (x**3).backward(create_graph=True)
    (x.grad * x.grad).backward(retain_graph=True)               # d/dx 9 x^4 = 36 x^3, on top of 12
    assert x.grad.item() == 12 + 288
    x.grad = None                                               # breaks the cycle x -> x.grad -> x


def test_the_gradient_of_a_gradient_norm_through_a_fan_out():
    x, w = leaf([1.0, 2.0, 3.0]), leaf([0.5, -1.0, 2.0])
    y = (x * w).sum() ** 2                                      # dy/dx = 2 s w,  |dy/dx|^2 = 4 s^2 |w|^2
    (g,) = tg.grad(y, x, create_graph=True)
    gw, gx = tg.grad((g * g).sum(), (w, x))
    s, q = float(x.data @ w.data), float(w.data @ w.data)
    assert np.allclose(gw.data, 8 * s * q * x.data + 8 * s * s * w.data, rtol=1e-13, atol=0)
    assert np.allclose(gx.data, 8 * s * q * w.data, rtol=1e-13, atol=0)


def test_a_primitive_must_not_save_other_float_arrays():
    class TwiceExp(Elementwise):
        def forward(self, x):
            e = np.exp(x)
            self.save(e)
            return 2 * e
        def backward(self, gy):
            (e,) = self.saved
            return gy * (2 * e)

    x = leaf([0.0, 1.0])
    y = TwiceExp().apply(x).sum()
    same(tg.grad(y, x, retain_graph=True)[0], 2 * np.exp(x.data))
    with pytest.raises(RuntimeError, match="TwiceExp: saved a float array that is neither an input nor the output"):
        tg.grad(y, x, create_graph=True)


class Cube(Kernel):
    """y = s x^3 with a first derivative of its own; it saves what no primitive may save."""
    forwards = 0

    def reference(self, x, s):
        return s * x * x * x

    def forward(self, x, s):
        Cube.forwards += 1
        self.save(3 * s * x * x, x**3)
        return s * x**3

    def backward(self, gy):
        dx, ds = self.saved
        return gy * dx, (gy * ds).sum()


def test_the_double_backward_of_a_kernel_is_its_references():
    x, s = leaf([1.0, 2.0]), leaf(5.0)
    y = Cube().apply(x, s).sum()
    gx, gs = tg.grad(y, (x, s), create_graph=True)
    assert np.allclose(gx.data, 15 * x.data**2, rtol=1e-14) and gs.item() == pytest.approx(9, rel=1e-14)
    hxx, hxs = tg.grad(gx.sum(), (x, s), create_graph=True)
    assert np.allclose(hxx.data, 30 * x.data, rtol=1e-14) and hxs.item() == pytest.approx(15, rel=1e-14)
    assert np.allclose(tg.grad(hxx.sum(), x)[0].data, [30, 30], rtol=1e-14)
    (gs,) = tg.grad(Cube().apply(x.detach(), s).sum(), s, create_graph=True)
    assert gs.item() == pytest.approx(9, rel=1e-14) and not gs.requires_grad        # linear in s, and x is a constant


@pytest.mark.usefixtures("on_arrays")
def test_reference_only_runs_the_definition():
    x, s = leaf([1.0, 2.0]), leaf(5.0)
    Cube.forwards = 0
    with tg.reference_only():
        y = Cube().apply(x, s)
        with tg.reference_only(False):
            Cube().apply(x, s)
    assert y.creator.name == "Multiply" and Cube.forwards == 1
    assert Cube().apply(x, s).creator.name == "Cube"


def test_reference_only_by_environment():
    program = ("import numpy as np, tinygrad_edu as tg\nfrom tinygrad_edu import functional as F\n"
               "x = tg.ones(1, 1, 3, 3, requires_grad=True)\nprint(F.conv2d(x, x).creator.name)")
    names = [subprocess.run([sys.executable, "-c", program], check=True,
                            env=os.environ | {"TINYGRAD_EDU_KERNELS": "", "TINYGRAD_EDU_REFERENCE": v},
                            capture_output=True, text=True).stdout.strip() for v in ("0", "1")]
    assert names == ["Conv2d", "Add"]


# ---------------------------------------------------------------- a wrong backward is found

@pytest.mark.parametrize("answer, message", [
    (lambda gy: (gy, gy), "backward gave 2 gradients for 1 inputs"),
    (lambda gy: gy[:1], r"backward gave a gradient of shape \(1,\), its input has \(2,\)"),
    (lambda gy: gy.astype(np.float32), "backward gave float32 for an input of float64"),
])
def test_a_backward_of_the_wrong_form(answer, message):
    class Wrong(Function):
        def forward(self, x):
            return x + 1
        def backward(self, gy):
            return answer(gy)

    x = leaf([1, 2])
    with pytest.raises(RuntimeError, match="Wrong: " + message):
        Wrong().apply(x).sum().backward()
    assert x.grad is None


# ---------------------------------------------------------------- modes

def test_no_grad_as_context_and_as_decorator():
    x = leaf(2)

    @tg.no_grad()
    def double(x):
        return x * 2

    for _ in range(2):
        assert not double(x).requires_grad
    with tg.no_grad():
        y = x * x
        with tg.enable_grad():
            z = x * x
        assert tg.is_grad_enabled() is False
    assert (y.requires_grad, y.creator, z.requires_grad, tg.is_grad_enabled()) == (False, None, True, True)
    with pytest.raises(KeyError), tg.no_grad():
        raise KeyError
    assert tg.is_grad_enabled()


def test_a_result_requires_grad_if_an_input_does():
    x, c = leaf(1), tg.tensor(2.0)
    assert (x * c).requires_grad and not (c * c).requires_grad and (c * c).creator is None
    assert not (x > 0).requires_grad and not tg.argmax(x).requires_grad


def test_numbers_arrays_and_numpy_scalars():
    x = leaf([1, 2], np.float32)
    for y in (2 * x, x * 2.5, x * np.float64(2.5), np.float64(2.5) * x, np.float64(1) / x, x + np.int64(3), x**2, x**0.5, 2**x,
              x - np.float32(1)):
        assert type(y) is Tensor and y.dtype == np.float32 and tg.grad(y.sum(), x)[0].dtype == np.float32
    for y in (x * np.ones(2, np.float32), np.ones((3, 2), np.float32) - x, np.ones((3, 2), np.float32) @ x.reshape(2, 1)):
        assert type(y) is Tensor and y.dtype == np.float32 and y.requires_grad
    assert type(tg.exp(np.ones(2))) is np.ndarray


def test_a_constant_array_is_copied_so_it_may_change_later():
    x, c = leaf([1, 2]), np.array([3.0, 4.0])
    y = x * c
    c[:] = 0
    same(tg.grad(y.sum(), x)[0], [3, 4])


def test_mixed_floats_give_each_leaf_its_own_dtype():
    narrow, wide = leaf([1, 2], np.float32), leaf([3, 4])
    y = (narrow * wide).sum()
    assert y.dtype == np.float64
    y.backward()
    assert (narrow.grad.dtype, wide.grad.dtype) == (np.float32, np.float64)
    same(narrow.grad, np.array([3, 4], np.float32))


def test_integers_have_values_and_no_gradients():
    i = tg.tensor([0, 2, 2])
    x = leaf([1, 2, 3])
    assert i.dtype.kind == "i" and (i + 1).dtype.kind == "i" and i.sum().item() == 4 and not (i * 2).requires_grad
    (x[i] * i).sum().backward()
    same(x.grad, [0, 0, 4])


def test_a_subclass_survives_every_operation():
    class Image(Tensor):
        pass

    class Photo(Image):
        pass

    image, photo, plain = Image([1.0, 2.0], requires_grad=True), Photo([1.0, 2.0]), leaf([1, 2], np.float32)
    for y in (tg.exp(image), image * plain, plain * image, image + 1, 1 - image, np.ones(2, np.float32) * image, image[0],
              image.sum(), tg.stack([plain, image]), image.detach(), tg.where(image > 0, image, 0.0), image > 0):
        assert type(y) is Image
    assert type(image * photo) is Photo and type(photo * image) is Photo and type(plain * plain) is Tensor


# ---------------------------------------------------------------- anomalies

def first_bad_line(run):
    with np.errstate(all="ignore"), tg.detect_anomaly(), pytest.raises(FloatingPointError) as found:
        run()
    return str(found.value)


def test_anomaly_forward_nan_names_the_line():
    x = leaf([1.0, -1.0])
    message = first_bad_line(lambda: tg.exp(
        tg.log(x) * 2))
    assert message.startswith("Log: the first NaN appeared at test_engine.py:") and message.endswith("tg.log(x) * 2))")


def test_anomaly_forward_infinity_names_the_line():
    x = leaf([1.0, 1000.0])
    message = first_bad_line(lambda: (x.exp() - 1).mean())      # a method, called in this line
    assert "Exp: the first infinity" in message and "called in this line" in message


def test_anomaly_backward_names_the_forward_line():
    x = leaf([0.0, 4.0])

    def run():
        y = tg.sqrt(x)                      # this line
        return (y * 0).sum().backward()     # 0 / 0 at x = 0

    message = first_bad_line(run)
    assert message.startswith("Sqrt: its backward gave the first NaN or infinity; made at") and "this line" in message


def test_anomaly_lets_masks_of_minus_infinity_pass():
    x = leaf([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    mask = np.array([[True, False, True], [True, True, False]])
    with tg.detect_anomaly():
        scores = tg.where(mask, x, -np.inf) * 1.0 + np.array([0.0, -np.inf, 0.0])
        p = tg.exp(scores - tg.logsumexp(scores, axis=1, keepdims=True))
        (p * np.arange(6.0).reshape(2, 3)).sum().backward()
    assert np.isfinite(x.grad.data).all() and (x.grad.data[~mask] == 0).all()


# ---------------------------------------------------------------- writing into tensors

def test_writing_a_part_cuts_its_gradient():
    x, v = leaf([[1, 2, 3], [4, 5, 6]]), leaf([10, 20])
    y = x * x
    y[:, 1] = v
    (y * np.array([[1.0, 2, 3], [4, 5, 6]])).sum().backward()
    same(y, [[1, 10, 9], [16, 20, 36]])
    same(x.grad, [[2, 0, 18], [32, 0, 72]])
    same(v.grad, [2, 5])


def test_a_write_never_reaches_what_was_computed_before():
    x = leaf([1, 2])
    y = x * 1
    before = y * y                          # saves the old y, and its gradient goes to the old y
    y *= 10
    y[0] = 7.0
    y += y
    y /= 2
    y -= x
    assert before.tolist() == [1, 4] and y.tolist() == [6, 18]
    (before.sum() + y.sum()).backward()
    same(x.grad, [2 + 0 - 1, 4 + 10 - 1])


def test_a_tensor_multiplied_by_itself_in_place():
    x = leaf([2, 3])
    y = x * 1
    y *= y
    (g,) = tg.grad(y.sum(), x, create_graph=True)
    same(g, [4, 6])
    same(tg.grad(g.sum(), x)[0], [2, 2])


def test_a_buffer_filled_step_by_step_and_read_in_between():
    w, steps = leaf(0.5), 6
    path, total = tg.zeros(steps, dtype="float64"), 0.0
    path[0] = 1.0
    for t in range(1, steps):
        path[t] = path[t - 1] * w                               # w^t
        total = total + (path * path).sum()                     # reads a buffer that is written again
    total.backward()
    expected = sum((steps - t) * 2 * t * 0.5 ** (2 * t - 1) for t in range(1, steps))
    assert w.grad.item() == pytest.approx(expected, rel=1e-13)


def test_writing_into_a_constant_keeps_older_graphs_to_any_order():
    w, c = leaf([1.0, 2.0]), tg.tensor(np.array(3.0))
    y = Cube().apply(w, c) + w * w * c                          # a kernel's reference runs only later, in double backward
    c += 100
    with tg.no_grad():
        c *= 2
    c.copy_(w.sum())
    (g,) = tg.grad(y.sum(), w, create_graph=True)
    assert np.allclose(g.data, 9 * w.data**2 + 6 * w.data, rtol=1e-14)
    assert np.allclose(tg.grad(g.sum(), w)[0].data, 18 * w.data + 6, rtol=1e-14)


def test_a_write_under_no_grad_makes_a_constant_of_an_interior_tensor():
    x = leaf([1, 2])
    y = x * 3
    z = y * y
    with tg.no_grad():
        y += 1
    assert not y.requires_grad and y.tolist() == [4, 7]
    z.sum().backward()
    same(x.grad, [18, 36])


def test_of_repeated_places_the_last_write_counts():
    x, v = leaf([1, 2, 3]), leaf([10, 20, 30])
    y = x * 1
    y[np.array([0, 2, 0])] = v
    same(y, [30, 2, 20])
    (y * np.array([1.0, 10.0, 100.0])).sum().backward()
    same(x.grad, [0, 10, 0])
    same(v.grad, [0, 100, 1])


def test_a_leaf_refuses_except_under_no_grad():
    w = leaf([1, 2])
    array = w.data
    for write in (lambda: w.add_(1), lambda: w.mul_(w), lambda: w.copy_(np.zeros(2)), lambda: w.__setitem__(0, 5.0)):
        with pytest.raises(RuntimeError, match="in-place write into a leaf that requires grad"):
            write()
    same(w, [1, 2])
    with tg.no_grad():
        w -= 0.5
        w[0] = 9.0
    same(w, [9, 1.5])
    assert w.data is array and w.is_leaf and w.requires_grad


@pytest.mark.parametrize("use", [lambda w, x: x @ w, lambda w, x: x @ w.T, lambda w, x: x @ w.reshape(2, 2)[:, ::-1],
                                 lambda w, x: (w * w), lambda w, x: tg.exp(x @ (w[:1] * x))])
def test_a_step_between_forward_and_backward_is_an_error(use):
    w, x = leaf([[1, 2], [3, 4]]), leaf([[1, 0], [0, 1]])
    loss, other = use(w, x).sum(), (x * x).sum()
    with tg.no_grad():
        w -= 0.1
    with pytest.raises(RuntimeError, match="made at test_engine.py:.*: an array that its gradient needs was changed in place"):
        loss.backward()
    other.backward()
    use(w, x).sum().backward()


def test_a_step_is_no_error_where_the_gradient_does_not_need_the_value():
    w = leaf([1, 2])
    y = (w + 1).sum()
    with tg.no_grad():
        w += 1
    y.backward()
    same(w.grad, [1, 1])


def test_a_refused_write_changes_nothing():
    y = leaf([1, 2]) * 1
    creator, i = y.creator, tg.tensor([1, 2])
    for write, error in ((lambda: y.add_(np.ones((3, 2))), ValueError), (lambda: y.__setitem__(5, 0.0), IndexError),
                         (lambda: y.__setitem__(0, np.ones(7)), ValueError), (lambda: i.add_(0.5), TypeError)):
        with pytest.raises(error):
            write()
    assert y.tolist() == [1, 2] and y.creator is creator and i.tolist() == [1, 2]


# ---------------------------------------------------------------- large graphs, and their end

@pytest.mark.parametrize("length", [50_000])
def test_a_long_chain_needs_no_recursion(length):
    x = leaf(1.0)
    for finish in (Tensor.backward, lambda y: None):            # freed node by node, and all at once
        y = x
        for _ in range(length):
            y = y + 1
        finish(y)
        del y
    assert x.grad.item() == 1


def test_a_deep_double_backward_needs_no_recursion():
    x = y = leaf(1.0)
    for _ in range(5_000):
        y = y * x
    (g,) = tg.grad(y, x, create_graph=True)
    assert (g.item(), tg.grad(g, x)[0].item()) == (5_001, 5_001 * 5_000)


def test_a_wide_fan():
    x = leaf([1.0, 2.0])
    tg.stack([x * i for i in range(2_000)]).sum().backward()
    same(x.grad, [1_999_000, 1_999_000])


def calls_of(run):
    """How many Python functions `run` enters: time that does not depend on the machine."""
    count = 0

    def profiler(frame, event, argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(profiler)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("step", [lambda y, x: y + y, lambda y, x: y * 0.5 + y * 0.5 + x, lambda y, x: y + x * x],
                         ids=["doubling", "diamonds", "fan-in"])
def test_time_is_linear_in_the_graph(step):
    def run(n):
        x = y = leaf(1.0)
        for _ in range(n):
            y = step(y, x)
        y.backward()

    run(2)
    assert calls_of(lambda: run(400)) <= 2.05 * calls_of(lambda: run(200))


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def network(x, w):
    h = tg.tanh(x @ w).retain_grad()
    h[0] = 1.0
    return (tg.logsumexp(h, axis=1) + Cube().apply(h, w[0, 0]).sum(axis=1)).mean()


@pytest.mark.parametrize("finish", [lambda y, w: None, lambda y, w: y.backward(), lambda y, w: y.backward(retain_graph=True),
                                    lambda y, w: tg.grad(y, w), lambda y, w: tg.grad(y, w, create_graph=True)],
                         ids=["nothing", "backward", "retain_graph", "grad", "create_graph"])
def test_a_graph_is_freed_without_the_garbage_collector(no_collector, finish):
    x, w = leaf(np.ones((3, 2))), leaf(np.ones((2, 4)))
    y = network(x, w)
    nodes, stack = [], [y.creator]
    while stack:
        node = stack.pop()
        nodes.append(weakref.ref(node))
        stack += [source for source in node.sources if isinstance(source, Function)]
    del node
    result = finish(y, w)
    del y, result
    assert len(nodes) > 8 and all(node() is None for node in nodes)


def test_backward_frees_what_was_saved_while_the_output_lives(no_collector):
    x = leaf(np.ones(3))
    h = tg.exp(x)
    values = weakref.ref(h.data)
    y = (h * h).sum()
    del h
    assert values() is not None
    y.backward()
    assert values() is None and y.item() == pytest.approx(3 * np.e**2)


# ---------------------------------------------------------------- what is printed

def test_repr_of_tensors():
    x = tg.tensor([[1.0, 2.0]], requires_grad=True)
    assert repr(x) == "Tensor([[1., 2.]], shape=(1, 2), float32, requires_grad=True)"
    assert repr(x.sum()) == "Tensor(3., shape=(), float32, grad_fn=Sum)"
    assert repr(tg.tensor([1, 2])) == "Tensor([1, 2], shape=(2,), int64)" and f"{x.sum():.2f}" == "3.00"
    assert len(repr(tg.zeros(1000, 1000))) < 300


def test_printing_a_node_shows_operation_shapes_and_line():
    a, b = leaf(np.ones((2, 3))), leaf(np.ones(3))
    y = a * b                                                   # the line
    text = repr(y.creator)
    assert text.startswith("<Multiply (2, 3), (3,) -> (2, 3), made at test_engine.py:")
    assert text.endswith(": y = a * b                                                   # the line>")
    assert repr(Multiply()) == "<Multiply>"
    assert [x is a for x in y.creator.inputs] == [True, False] and y.grad_fn is y.creator


# ---------------------------------------------------------------- all together

def test_gradient_penalty_through_convolution_normalization_attention_and_lstm():
    rng = np.random.default_rng(0)
    shapes = dict(conv=(4, 2, 3, 3), gain=(4,), shift=(4,), query=(4, 4), key=(4, 4), value=(4, 4), w=(12, 4), u=(12, 3),
                  bias=(12,), out=(3, 1))
    images = rng.normal(size=(2, 2, 5, 4))
    values = {name: 0.5 * rng.normal(size=shape) for name, shape in shapes.items()}

    def critic(x, p):
        y = F.conv2d(x, p["conv"])                                                  # (N, 4, 3, 2)
        y = tg.tanh(y).reshape((2, 4, 6)).swapaxes(1, 2)                            # (N, T, 4)
        y = F.layer_norm(y, (4,), p["gain"], p["shift"])
        y = y + F.scaled_dot_product_attention(y @ p["query"], y @ p["key"], y @ p["value"], causal=True)
        zeros = tg.zeros(2, 3, dtype="float64")
        _, h, _ = F.lstm(y.swapaxes(0, 1), zeros, zeros, p["w"], p["u"], p["bias"])  # (N, 3)
        return h @ p["out"]

    def penalty(values):
        p = {name: tg.tensor(v, requires_grad=True) for name, v in values.items()}
        x = tg.tensor(images, requires_grad=True)
        (gx,) = tg.grad(critic(x, p).sum(), x, create_graph=True)
        norms = tg.sqrt((gx * gx).sum(axis=(1, 2, 3)))
        return ((norms - 1) ** 2).mean(), p

    loss, p = penalty(values)
    loss.backward()
    for name in shapes:
        direction, h = rng.normal(size=shapes[name]), 1e-3
        along = [penalty(values | {name: values[name] + k * h * direction})[0].item() for k in (-2, -1, 1, 2)]
        slope = (along[0] - 8 * along[1] + 8 * along[2] - along[3]) / (12 * h)      # error of order h^4
        assert (p[name].grad.data * direction).sum() == pytest.approx(slope, rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("ids", [[], [2], [-1, 2, -1], [[0, 0], [1, 0]], [3, 1, 3, 3, 0], [1] * 100 + [2]])
def test_rows_read_several_times_collect_all_their_gradients(ids):
    w = tg.tensor(np.arange(8.0).reshape(4, 2), requires_grad=True, dtype="float64")
    ids = np.array(ids, dtype=np.int64)
    gy = np.random.default_rng(0).standard_normal((*ids.shape, 2))
    w[ids].backward(gy)
    expected = np.zeros((4, 2))
    np.add.at(expected, ids, gy)
    np.testing.assert_allclose(w.grad.data, expected, rtol=1e-14, atol=1e-14)
