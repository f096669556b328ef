"""Quantization: integers that stand for real numbers, the straight-through gradient, and models of integers."""
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F, nn, no_grad, optim
from tinygrad_edu.io import load_weights, save_weights, trace
from tinygrad_edu.io.quantize import (Quantized, Round, activation_grid, convert, fake_quantize, fold_batch_norm, pack_int4,
                                      prepare, unpack_int4, weight_scale)

SMALL_SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def net():
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(),
                         nn.Conv2d(4, 6, 3, stride=2, groups=2, dilation=(1, 2), bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))


# ---------------------------------------------------------------- two integers in a byte

@given(hnp.arrays(np.int8, SMALL_SHAPES, elements=st.integers(-8, 7)))
def test_two_integers_lie_in_a_byte(q):
    packed = pack_int4(q)
    assert packed.dtype == np.uint8 and packed.shape == ((q.size + 1) // 2,)
    back = unpack_int4(packed, q.shape)
    assert back.dtype == np.int8
    np.testing.assert_array_equal(back, q)


def test_packing_by_hand_and_what_does_not_fit():
    assert pack_int4(np.array([1, -1, 7, -8, 3])).tolist() == [0xF1, 0x87, 0x03]
    with pytest.raises(ValueError, match=r"got integers in \[-3, 8\], expected \[-8, 7\]"):
        pack_int4(np.array([8, -3]))
    with pytest.raises(ValueError, match=r"got 2 bytes, expected 3 for shape \(5,\)"):
        unpack_int4(np.zeros(2, np.uint8), (5,))


# ---------------------------------------------------------------- grids

@given(st.floats(-100, 100), st.floats(-100, 100), st.integers(2, 8))
def test_the_grid_of_activations_covers_its_range_and_zero(a, b, bits):
    low, high = min(a, b), max(a, b)
    scale, zero = activation_grid(low, high, bits)
    assert scale > 0 and isinstance(zero, int) and 0 <= zero <= 2 ** bits - 1
    low, high = min(low, 0), max(high, 0)
    assert -zero * scale <= low + 0.51 * scale and (2 ** bits - 1 - zero) * scale >= high - 0.51 * scale


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=4, max_side=4), elements=st.floats(-10, 10, width=32)),
       st.integers(2, 8))
def test_a_weight_is_off_by_half_a_step_at_most(w, bits):
    scale = weight_scale(w, bits)
    assert scale.shape == (len(w),) + (1,) * (w.ndim - 1)
    top = 2 ** (bits - 1) - 1
    rounded = fake_quantize(w, scale, 0, -top, top)
    assert (abs(rounded - w) <= scale / 2 * (1 + 1e-9)).all()
    rows, rounded = w.reshape(len(w), -1), rounded.reshape(len(w), -1)
    largest = range(len(w)), abs(rows).argmax(axis=1)                   # the largest number is on the grid
    np.testing.assert_allclose(rounded[largest], rows[largest])


def test_weights_too_small_for_a_scale_become_zero():
    w = np.array([[5e-324, -5e-324], [0.0, 0.0], [1.0, -1.0]])
    assert weight_scale(w, 3).reshape(-1).tolist() == [1, 1, 1 / 3]
    np.testing.assert_allclose(fake_quantize(w, weight_scale(w, 3), 0, -3, 3), [[0, 0], [0, 0], [1, -1]])


# ---------------------------------------------------------------- the straight-through gradient, by definition

def test_rounding_has_the_gradient_one_by_decree():
    x, gy = Tensor([0.2, 0.5, 1.5, -2.7], requires_grad=True), Tensor([1.0, 2.0, 3.0, 4.0])
    y = Round().apply(x)
    assert y.tolist() == [0, 0, 2, -3]                                  # halves to even
    assert tg.grad(y, x, gy)[0].tolist() == gy.tolist()


@given(hnp.arrays(np.float64, (7,), elements=st.floats(-4, 4)), st.integers(2, 8))
def test_fake_quantization_passes_the_gradient_inside_the_range_only(values, bits):
    scale, zero, high = 0.5, 2 ** (bits - 1) - 1, 2 ** bits - 1
    x, gy = Tensor(values, requires_grad=True), np.arange(1.0, 8)
    y = fake_quantize(x, scale, zero, 0, high)
    q = np.rint(values / scale) + zero
    np.testing.assert_array_equal(y.data, (np.clip(q, 0, high) - zero) * scale)
    np.testing.assert_allclose(tg.grad(y, x, Tensor(gy))[0].data, gy * ((0 <= q) & (q <= high)))
    np.testing.assert_array_equal(fake_quantize(y, scale, zero, 0, high).data, y.data)          # once is enough


# ---------------------------------------------------------------- models

@pytest.mark.parametrize("bits", [2, 4, 8])
def test_integers_answer_what_the_prepared_model_answers(bits):
    model, x = net(), normal(20, 2, 6, 6)
    prepared = prepare(model, [x[:10], x[10:]], bits)
    small = convert(prepared)
    with no_grad():
        a, b = prepared(Tensor(x)), small(Tensor(x))
    assert b.dtype == np.float32
    np.testing.assert_allclose(a.data, b.data, atol=1e-4 * abs(a.data).max())
    assert sum(isinstance(m, Quantized) for m in small.modules()) == 4
    assert not any(isinstance(m, Quantized) for m in model.modules())   # the model itself is as it was


def test_the_integer_convolution_by_hand():
    conv = nn.Conv2d(1, 1, 2, padding=1)
    conv.weight.data[...], conv.bias.data[...] = [[[[1.0, -127.0], [64.0, 0.0]]]], 0.25
    x = np.arange(4, dtype="float32").reshape(1, 1, 2, 2) * 85          # 0 .. 255: scale 1, zero point 0
    small = convert(prepare(conv, [x]))
    assert small.weight.data.reshape(-1).tolist() == [1, -127, 64, 0] and small.grid.tolist() == [1, 0]
    np.testing.assert_allclose(small(Tensor(x)).data, conv(Tensor(x)).data)


def test_eight_bits_are_close_and_fewer_bits_are_further():
    model, x = net(), normal(50, 2, 6, 6)
    exact = model(Tensor(x)).data
    errors = [abs(convert(prepare(model, [x], bits))(Tensor(x)).data - exact).max() for bits in (8, 6, 4, 2)]
    assert errors == sorted(errors) and errors[0] < 0.02 * abs(exact).max()


@pytest.mark.parametrize("bias", [True, False])
def test_a_batch_norm_goes_into_the_convolution_before_it(bias):
    conv, norm, x = nn.Conv2d(2, 4, 3, bias=bias), nn.BatchNorm2d(4), Tensor(normal(5, 2, 6, 6))
    norm.weight.data[...], norm.bias.data[...] = normal(4), normal(4, seed=1)
    norm(conv(x))                                                       # moves the averages away from 0 and 1
    np.testing.assert_allclose(fold_batch_norm(conv, norm)(x).data, norm.eval()(conv(x)).data, rtol=1e-5, atol=1e-5)


def test_layers_in_lists_and_dicts_are_found():
    class Odd(nn.Module):
        def __init__(self):
            self.parts, self.more = [nn.Linear(3, 4), nn.Tanh()], {"out": nn.Linear(4, 2)}
        def forward(self, x):
            return self.more["out"](self.parts[1](self.parts[0](x)))

    small = convert(prepare(Odd(), [normal(5, 3)]))
    assert isinstance(small.parts[0], Quantized) and isinstance(small.more["out"], Quantized)
    assert {name for name, t in small.named_tensors() if t.dtype == np.int8} == {"parts.0.weight", "more.out.weight"}


@pytest.mark.parametrize("bits, smaller", [(8, 3.8), (4, 7.2)])
def test_the_file_is_smaller_and_loads(bits, smaller, tmp_path):
    model, x = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256)), normal(20, 256)
    small = convert(prepare(model, [x], bits))
    save_weights(tmp_path / "float.safetensors", model.state_dict())
    save_weights(tmp_path / "small.safetensors", small.state_dict())
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("float", "small")]
    assert sizes[0] / sizes[1] >= smaller

    other = convert(prepare(nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256)), [x], bits))
    other.load_state_dict(load_weights(tmp_path / "small.safetensors"))
    np.testing.assert_array_equal(other(Tensor(x)).data, small(Tensor(x)).data)


def test_training_the_prepared_model_lowers_its_loss():
    x, y = normal(64, 8), normal(64, 8, seed=1) > 0
    labels = y[:, 0].astype(int) + 2 * y[:, 1]
    prepared = prepare(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)), [x], bits=3).train()
    optimizer, losses = optim.Adam(prepared.parameters(), lr=1e-2), []
    for _ in range(40):
        loss = F.cross_entropy(prepared(Tensor(x)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    moved = [m.range.tolist() for m in prepared.eval().modules() if hasattr(m, "range")]
    prepared(Tensor(100 * x))
    assert moved == [m.range.tolist() for m in prepared.modules() if hasattr(m, "range")]       # evaluation measures nothing


def test_a_prepared_model_can_be_traced():
    model, x = net(), normal(6, 2, 6, 6)
    prepared = prepare(model, [x], bits=4)
    np.testing.assert_allclose(trace(prepared, x)(x[:4]).data, prepared(Tensor(x[:4])).data, atol=1e-6)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="got 9 bits, expected 2 to 8"):
        prepare(net(), [normal(2, 2, 6, 6)], bits=9)
    with pytest.raises(ValueError, match="no Linear or Conv2d"):
        prepare(nn.Tanh(), [normal(2)])
    with pytest.raises(ValueError, match="got no batches"):
        prepare(net(), [])
    with pytest.raises(ValueError, match="may not fit into 32 bits"):
        convert(prepare(nn.Linear(70_000, 1), [normal(1, 70_000)]))
