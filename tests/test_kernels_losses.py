"""Cross-entropies on every face: equal to their definitions, and to PyTorch under every option, finite far out."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F
from tinygrad_edu.testing.strategies import layouts
from kernel_faces import CLOSE, FACES, draw_array, equals_definition

NEAR = dict(rtol=2e-5, atol=2e-6)                           # for float32
every_face = pytest.mark.parametrize("face", ["reference"] + FACES)


def classes(K, *shape):
    return np.random.default_rng(7).integers(0, K, shape)


@st.composite
def classified(draw):
    """Logits (N, K, ..) in any memory layout, and classes (N, ..)."""
    N, K, rest = draw(st.integers(0, 4)), draw(st.integers(1, 5)), draw(st.lists(st.integers(1, 3), max_size=2))
    return draw(layouts(3 * draw_array(0, N, K, *rest))), classes(K, N, *rest)


@given(classified())
def test_cross_entropy_equals_its_definition(case):
    x, targets = case
    equals_definition(lambda x: F.cross_entropy(x, targets, reduction="none"), x)
    equals_definition(lambda x: F.cross_entropy(x, targets, reduction="none"), x.astype("float32"), **NEAR)


@given(classified(), st.sampled_from(["mean", "sum", "none"]), st.sampled_from([0.0, 0.1, 1.0]), st.booleans(),
       st.sampled_from([None, -100, 0]))
def test_cross_entropy_with_every_option_equals_its_definition(case, reduction, smoothing, weighted, ignored):
    x, targets = case
    K = x.shape[1]
    if ignored is not None and targets.size:
        targets.flat[0], targets.flat[-1] = ignored, K - 1          # somebody counts, unless there is nobody else
    if not (targets.size and (targets != ignored).any()):
        reduction = "sum"
    options = dict(weight=np.arange(1.0, K + 1) if weighted else None, ignore_index=-100 if ignored is None else ignored)
    equals_definition(lambda x: F.cross_entropy(x, targets, reduction=reduction, label_smoothing=smoothing, **options), x)


@every_face
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 2, 3), (4, 100)])
def test_cross_entropy_equals_pytorch(face, dtype, shape):
    torch = pytest.importorskip("torch")
    x, t = draw_array(0, *shape).astype(dtype), classes(shape[1], shape[0], *shape[2:])
    w = np.linspace(0.5, 2, shape[1]).astype(dtype)
    some, none = t.copy(), np.full_like(t, -100)
    some.flat[::2] = -100
    probabilities = np.exp(draw_array(1, *shape)).astype(dtype)
    for options in ({}, {"weight": w}, {"label_smoothing": 0.1}, {"weight": w, "label_smoothing": 0.3}):
        for target in (t, some, none, probabilities):
            for reduction in ("mean", "sum", "none"):
                with tg.kernel_face(face):
                    ours, gx = loss_and_gradient(x, target, reduction, options)
                theirs, tgx = torch_loss_and_gradient(torch, x, target, reduction, options)
                assert ours.dtype == gx.dtype == dtype
                np.testing.assert_allclose(ours, theirs, **(CLOSE if dtype == "float64" else NEAR))
                np.testing.assert_allclose(gx, tgx, **(CLOSE if dtype == "float64" else NEAR))


def loss_and_gradient(x, target, reduction, options):
    x = Tensor(x, requires_grad=True)
    y = F.cross_entropy(x, target, reduction=reduction, **options)
    y.backward(draw_array(5, *y.shape).astype(y.dtype))
    return y.data, x.grad.data


def torch_loss_and_gradient(torch, x, target, reduction, options):
    x, options = torch.tensor(x, requires_grad=True), dict(options)
    if "weight" in options:
        options["weight"] = torch.tensor(options["weight"])
    y = torch.nn.functional.cross_entropy(x, torch.tensor(target), reduction=reduction, **options)
    y.backward(torch.tensor(draw_array(5, *y.shape)).to(y.dtype))
    return y.detach().numpy(), x.grad.numpy()


@every_face
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_is_finite_far_out_and_its_gradient_is_p_minus_y(face, dtype):
    x = Tensor(np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [-np.inf, 0, 0]], dtype), requires_grad=True)
    with tg.kernel_face(face):
        y = F.cross_entropy(x, np.array([0, 1, 2]), reduction="none")
        y.backward(np.ones(3, dtype))
    exact = dict(rtol=0, atol=1e-12 if dtype == "float64" else 5e-4 if face == "reference" else 3e-7)   # log s + 1e4 there
    np.testing.assert_allclose(y.data, [0, np.log(2), np.log(2)], **exact)
    np.testing.assert_allclose(x.grad.data, [[0, 0, 0], [0, -0.5, 0.5], [0, 0.5, -0.5]], **exact)


def test_a_row_far_below_the_others_keeps_its_digits():
    """Short rows share one maximum, but not when they lie farther apart than e^x can tell."""
    for shift in (0, 30, 38, 41, 1e4):
        x = np.array([[1.0, 2.0], [1.0 - shift, 2.0 - shift]], "float32")
        with tg.kernel_face("arrays"):
            y = F.cross_entropy(x, np.array([0, 0]), reduction="none")
        np.testing.assert_allclose(y, y[0], rtol=1e-5 if shift < 1e3 else 1e-2)


@given(st.lists(st.integers(0, 4), max_size=3), st.data())
def test_binary_cross_entropy_equals_its_definition(shape, data):
    x, t = 3 * draw_array(0, *shape), 1 / (1 + np.exp(draw_array(1, *shape)))
    x = data.draw(layouts(x)) if np.ndim(x) else x
    for dtype, close in (("float64", CLOSE), ("float32", NEAR)):
        arrays = [np.asarray(a).astype(dtype) for a in (x, t)]
        equals_definition(lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction="none"), *arrays, **close)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("names", [(), ("weight",), ("pos_weight",), ("weight", "pos_weight")])
def test_binary_cross_entropy_equals_pytorch(dtype, names):
    torch = pytest.importorskip("torch")
    arrays = [np.linspace(-30, 30, 40).reshape(8, 5).astype(dtype), np.random.default_rng(0).random((8, 5)).astype(dtype)]
    options = {name: np.linspace(0.5, 2, 5).astype(dtype) for name in names}
    for reduction in ("mean", "sum", "none"):
        xs, ts = [Tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
        y = F.binary_cross_entropy_with_logits(*xs, reduction=reduction, **options)
        z = torch.nn.functional.binary_cross_entropy_with_logits(
            *ts, reduction=reduction, **{k: torch.tensor(v) for k, v in options.items()})
        gy = draw_array(5, *y.shape).astype(dtype)
        y.backward(gy), z.backward(torch.tensor(gy))
        assert y.dtype == xs[0].grad.dtype == dtype
        for ours, theirs in ((y.data, z.detach()), *((x.grad.data, t.grad) for x, t in zip(xs, ts))):
            np.testing.assert_allclose(ours, theirs.numpy(), **(CLOSE if dtype == "float64" else NEAR))


@pytest.mark.usefixtures("on_arrays")
def test_binary_cross_entropy_keeps_the_digits_of_a_small_loss():
    x = np.linspace(0, 80, 2001).astype("float32")
    y = F.binary_cross_entropy_with_logits(x, np.ones_like(x), reduction="none")
    np.testing.assert_allclose(y, np.log1p(np.exp(-x.astype("float64"))), rtol=4e-7)
    far = Tensor(np.array([1e4, -1e4, -1e4, 1e4], "float32"), requires_grad=True)
    F.binary_cross_entropy_with_logits(far, np.array([1, 1, 0, 0], "float32"), reduction="sum").backward()
    assert far.grad.tolist() == [0, -1, 0, 1]


@pytest.mark.parametrize("call, message", [
    (lambda x: F.cross_entropy(x, np.array([0, 1]), weight=np.ones(2)), r"weight has shape \(2,\), expected \(3,\)"),
    (lambda x: F.cross_entropy(x, np.array([0, 1]), label_smoothing=2.0), "label_smoothing = 2.0, expected 0 to 1"),
    (lambda x: F.cross_entropy(x, np.array([0, -1])), r"targets lie in \[-1, 0\], expected \[0, 3\)"),
])
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(draw_array(0, 2, 3))
