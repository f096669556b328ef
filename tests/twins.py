"""Twins: the same module in this library and in PyTorch, float64, with the same weights; compared in values and gradients."""
import numpy as np
import pytest

from kernel_faces import CLOSE, draw_array
from tinygrad_edu import Tensor


def arrays_of(theirs):
    """The state_dict of a PyTorch module as NumPy arrays."""
    return {name: t.detach().numpy() for name, t in theirs.state_dict().items()}


def twins(make_ours, make_theirs):
    """(ours, theirs): theirs with every number moved a little, so that no bias is 0 and no scale 1; ours loaded from it."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    ours, theirs = make_ours().double(), make_theirs(torch.nn).double()
    generator = torch.Generator().manual_seed(1)
    for t in theirs.state_dict().values():
        if t.dtype == torch.float64:
            t += 0.1 * torch.rand(t.shape, generator=generator, dtype=t.dtype)
    assert list(ours.state_dict()) == list(arrays_of(theirs))
    ours.load_state_dict(arrays_of(theirs))
    return ours, theirs


def flat(answer):
    """The tensors of an answer: one, or nested tuples."""
    return [answer] if hasattr(answer, "shape") else [t for part in answer for t in flat(part)]


def assert_equal(ours, theirs, arrays, call_ours=None, call_theirs=None):
    """call(module, *inputs) gives equal answers and, on random cotangents, equal gradients of inputs and parameters."""
    import torch

    call_ours = call_ours or (lambda module, *xs: module(*xs))
    call_theirs = call_theirs or call_ours
    xs = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    ts = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    ours.zero_grad(), theirs.zero_grad()

    total, sum_ = 0.0, 0.0
    for k, (y, t) in enumerate(zip(flat(call_ours(ours, *xs)), flat(call_theirs(theirs, *ts)), strict=True)):
        np.testing.assert_allclose(y.detach().numpy(), t.detach().numpy(), **CLOSE)
        gy = draw_array(20 + k, *y.shape)
        total, sum_ = total + (y * Tensor(gy)).sum(), sum_ + (t * torch.tensor(gy)).sum()
    total.backward(), sum_.backward()

    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    assert gradients.keys() == dict(ours.named_parameters()).keys()
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(p.grad.data, gradients[name].numpy(), err_msg=name, **CLOSE)
    for x, t in zip(xs, ts):
        if x.requires_grad:
            np.testing.assert_allclose(x.grad.data, t.grad.numpy(), **CLOSE)
