"""Convolution and its adjoint: every face against the definition, PyTorch, and the promise of memory."""
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F
from tinygrad_edu.kernels import convolution
from kernel_faces import CLOSE, FACES, draw_array, equals_definition


@st.composite
def convolutions(draw, axes=2, transposed=False):
    """Shapes and options: strides that do not divide, even kernels, dilation, groups, depthwise, one pixel, an empty batch,
    and a few channels beside many."""
    kernel, stride, dilation, padding, more = ([draw(st.integers(low, high)) for _ in range(axes)]
                                               for low, high in ((1, 3), (1, 3), (1, 3), (0, 2), (0, 4)))
    size = [max(1, d * (k - 1) + 1 - 2 * p) + m for k, d, p, m in zip(kernel, dilation, padding, more)]
    groups, (c, o) = draw(st.integers(1, 3)), draw(st.sampled_from(((1, 1), (1, 2), (2, 1), (2, 2), (1, 4), (4, 1), (1, 5))))
    options = dict(stride=stride, padding=padding, dilation=dilation)
    if transposed:
        options["output_padding"] = [draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation)]
        size = [n + 2 * p for n, p in zip(size, padding)]              # so that something is left
    options = {name: tuple(value) if axes == 2 else value[0] for name, value in options.items()} | dict(groups=groups)
    weight = (groups * c, o) if transposed else (groups * o, c)
    return (draw(st.integers(0, 3)), groups * c, *size), (*weight, *kernel), (groups * o,), options


KINDS = {"conv1d": convolutions(1), "conv2d": convolutions(2),
         "conv_transpose1d": convolutions(1, True), "conv_transpose2d": convolutions(2, True)}
each_kind = pytest.mark.parametrize("name", KINDS)


@each_kind
@given(data=st.data())
def test_it_equals_its_definition_to_second_order(name, data):
    *shapes, options = data.draw(KINDS[name])
    arrays = [draw_array(3 + i, *shape) for i, shape in enumerate(shapes)]
    if not data.draw(st.booleans()):
        arrays.pop()                                                # the bias
    if data.draw(st.booleans()):
        arrays[0] = np.flip(np.asfortranarray(arrays[0]), -1)       # not contiguous
    equals_definition(lambda *xs: getattr(F, name)(*xs, **options), *arrays)


@each_kind
@given(data=st.data())
def test_it_equals_pytorch(name, data):
    torch = pytest.importorskip("torch")
    *shapes, options = data.draw(KINDS[name])
    if shapes[0][0] == 0:
        return                                                      # PyTorch refuses some empty batches
    arrays = [draw_array(3 + i, *shape) for i, shape in enumerate(shapes)]
    xs, ts = [Tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    y, t = getattr(F, name)(*xs, **options), getattr(torch.nn.functional, name)(*ts, **options)
    np.testing.assert_allclose(y.data, t.detach().numpy(), **CLOSE)
    gy = draw_array(6, *y.shape)
    y.backward(gy)
    t.backward(torch.tensor(gy))
    for ours, theirs in zip(xs, ts):
        np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), **CLOSE)


@each_kind
@given(data=st.data())
def test_it_works_in_blocks(name, data):
    """Cut into blocks of one image, and of one pixel of it: the same."""
    *shapes, options = data.draw(KINDS[name])
    arrays = [draw_array(3 + i, *shape) for i, shape in enumerate(shapes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "_BLOCK", data.draw(st.sampled_from((1, 60, 600))))
        equals_definition(lambda *xs: getattr(F, name)(*xs, **options), *arrays)


@pytest.mark.parametrize("stride", [1, 2])
def test_large_batches_are_shared_among_threads(stride):
    """Large enough for threads, and for the images of a 1x1 kernel to be taken as they lie."""
    x, shapes = draw_array(0, 3, 4, 33, 32), [(6, 2, 3, 3), (6, 2, 1, 1), (16, 2, 3, 3)]
    with tg.kernel_face("arrays"):
        for shape in shapes:
            w, gy = draw_array(1, *shape), None
            answers = []
            for face in ("arrays", "reference"):
                with tg.kernel_face(face):
                    xs = [Tensor(a, requires_grad=True) for a in (x, w)]
                    y = F.conv2d(*xs, stride=stride, groups=2)
                    gy = draw_array(2, *y.shape)
                    y.backward(gy)
                answers.append([y.data, *(x.grad.data for x in xs)])
            for ours, theirs in zip(*answers):
                np.testing.assert_allclose(ours, theirs, **CLOSE)


@each_kind
@pytest.mark.parametrize("face", FACES)
def test_float32_stays_float32(name, face):
    axes = int(name[-2])
    xs = [Tensor(draw_array(i, *shape).astype("float32"), requires_grad=True)
          for i, shape in enumerate([(2, 4) + (5,) * axes, (4, 2) + (3,) * axes])]
    with tg.kernel_face(face):
        y = getattr(F, name)(*xs, stride=2, groups=2)
        y.backward(np.ones_like(y.data))
    assert y.dtype == np.float32 and all(x.grad.dtype == np.float32 for x in xs)


def test_transposed_is_the_adjoint():
    """<u, conv(x)> = <conv_transpose(u), x> for one weight: the definition of the name."""
    x, w = draw_array(0, 2, 4, 8, 7), draw_array(1, 6, 2, 3, 2)
    options = dict(stride=(2, 3), padding=1, dilation=(1, 2), groups=2)
    y = F.conv2d(x, w, **options)
    u = draw_array(2, *y.shape)
    back = F.conv_transpose2d(u, w, output_padding=(1, 0), **options)
    assert back.shape == x.shape
    np.testing.assert_allclose((u * y).sum(), (back * x).sum(), **CLOSE)


@pytest.mark.usefixtures("on_arrays")
def test_convolution_skips_the_gradient_nobody_wants():
    x, w = Tensor(draw_array(0, 2, 3, 5, 5)), Tensor(draw_array(1, 4, 3, 3, 3), requires_grad=True)
    y = F.conv2d(x, w)
    gx, gw, gb = y.creator.backward(np.ones(y.shape))
    assert gx is None and gb is None and gw.shape == w.shape


@pytest.mark.usefixtures("on_arrays")
def test_no_unfolded_copy_is_kept_or_made_whole():
    """A 5x5 kernel unfolds 25 times the image: nothing like it is saved, and only a block of it exists at a time."""
    x = Tensor(np.ones((8, 8, 64, 64), "float32"), requires_grad=True)                      # 1 MiB; unfolded 25 MiB
    w = Tensor(np.ones((8, 8, 5, 5), "float32"), requires_grad=True)
    F.conv2d(x, w, padding=2)
    tracemalloc.start()
    try:
        y = F.conv2d(x, w, padding=2)
        kept, peak = tracemalloc.get_traced_memory()
        assert kept < 2 * x.data.nbytes and peak < 12 * x.data.nbytes, (kept, peak)
        tracemalloc.reset_peak()
        y.backward(y.data)
        assert tracemalloc.get_traced_memory()[1] < 14 * x.data.nbytes, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("call, message", [
    (lambda: F.conv2d(np.ones((1, 2, 3, 3)), np.ones((4, 2, 4, 1))), "conv2d: the kernel reaches over 4 pixels"),
    (lambda: F.conv1d(np.ones((1, 2, 3)), np.ones((4, 2))), r"conv1d: got x .* expected \(N, C, T\) and \(O, C / groups, K\)"),
    (lambda: F.conv_transpose2d(np.ones((1, 2, 3, 3)), np.ones((3, 2, 1, 1))), "x has 2 channels, weight .* expects 3"),
    (lambda: F.conv_transpose2d(np.ones((1, 2, 3, 3)), np.ones((2, 2, 1, 1)), output_padding=1), "output_padding is 1"),
    (lambda: F.conv_transpose1d(np.ones((1, 2, 1)), np.ones((2, 2, 3)), padding=2), "padding 2 leaves nothing of 3"),
    (lambda: F.conv_transpose1d(np.ones((1, 2, 1)), np.ones((2, 2, 3)), np.ones(3)), r"bias has shape \(3,\), expected \(2,\)"),
])
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
