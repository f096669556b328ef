"""Optimizers: 20 steps equal to PyTorch's to 1e-10, missing gradients, groups, and what the flat buffer must not break."""
import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, nn, optim
from kernel_faces import FACES

RULES = {
    "SGD": dict(lr=0.1), "SGD momentum": dict(lr=0.1, momentum=0.9), "SGD decay": dict(lr=0.1, weight_decay=0.05),
    "SGD nesterov": dict(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.1),
    "RMSprop": dict(lr=0.01, alpha=0.9), "RMSprop decay": dict(lr=0.01, weight_decay=0.1),
    "Adam": dict(lr=0.05), "Adam decay": dict(lr=0.05, betas=(0.8, 0.99), weight_decay=0.1), "AdamW": dict(lr=0.05, weight_decay=0.2),
}


def problem():
    rng = np.random.default_rng(0)
    return [rng.standard_normal(s) for s in ((3, 4), (4,), (2, 2))], [rng.standard_normal((20, *s)) for s in ((3, 4), (4,), (2, 2))]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("face", FACES)
def test_trajectory_equals_pytorch(name, missing, face):
    """With `missing`, the second parameter has no gradient at every third step: it must not move, nor its step count."""
    torch = pytest.importorskip("torch")
    starts, gradients = problem()
    ours, theirs = [nn.Parameter(w) for w in starts], [torch.nn.Parameter(torch.tensor(w)) for w in starts]
    mine = getattr(optim, name.split()[0])(ours, **RULES[name])
    yours = getattr(torch.optim, name.split()[0])(theirs, **RULES[name])
    for step in range(20):
        for i, (p, q, g) in enumerate(zip(ours, theirs, gradients)):
            absent = missing and i == 1 and step % 3 == 0
            p.grad, q.grad = (None, None) if absent else (Tensor(g[step]), torch.tensor(g[step]))
        with tg.kernel_face(face):
            mine.step()
        yours.step()
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-10, atol=1e-10)


def test_groups_have_their_own_options_which_act_at_once():
    a, b = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimizer = optim.SGD([{"params": [a]}, {"params": [b], "lr": 1.0}], lr=0.5)
    a.grad = b.grad = Tensor([1.0])
    optimizer.step()
    assert a.item() == 0.5 and b.item() == 0.0
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    assert a.item() == 0.5 and b.item() == -1.0


def test_a_parameter_with_a_new_array_is_taken_up_again():
    p = nn.Parameter([1.0, 2.0])
    optimizer = optim.SGD([p], lr=1.0)
    p.data = np.array([10.0, 20.0], np.float32)
    p.grad = Tensor([1.0, 1.0])
    optimizer.step()
    assert p.tolist() == [9.0, 19.0]


def test_mixed_dtypes_stay_apart():
    p, q = nn.Parameter([1.0]), nn.Parameter(np.array([1.0]))
    optimizer = optim.Adam([p, q], lr=0.1)
    p.grad, q.grad = Tensor([1.0]), Tensor(np.array([1.0]))
    optimizer.step()
    assert p.dtype == np.float32 and q.dtype == np.float64 and p.item() == pytest.approx(0.9) and q.item() == pytest.approx(0.9)


def test_a_step_between_forward_and_backward_is_an_error():
    layer = nn.Linear(3, 3)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    x = tg.randn(2, 3)
    x.requires_grad_()
    loss = layer(x).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_the_gradient_itself_is_left_alone():
    for name, options in RULES.items():
        p, q = nn.Parameter([1.0, -2.0]), nn.Parameter([3.0])
        optimizer = getattr(optim, name.split()[0])([p, q], **options)
        p.grad = Tensor([0.5, 0.25])
        optimizer.step()                                    # q has no gradient: the rule works on views
        assert p.grad.tolist() == [0.5, 0.25] and q.tolist() == [3.0]


def test_only_momentum_needs_a_buffer_and_may_come_later():
    p = nn.Parameter([1.0])
    optimizer = optim.SGD([p], lr=1.0)
    p.grad = Tensor([1.0])
    optimizer.step()
    assert p.item() == 0 and optimizer._buffers[0].state == {}
    optimizer.param_groups[0]["momentum"] = 0.5
    optimizer.step(), optimizer.step()
    assert p.item() == -2.5                                 # steps of 1 and of 0.5 + 1


@pytest.mark.parametrize("name", ["SGD momentum", "RMSprop", "Adam decay", "AdamW"])
@pytest.mark.parametrize("face", ["arrays", "compiled"])
def test_large_buffers_in_blocks_and_threads_equal_small_ones(name, face):
    w, g = (np.random.default_rng(i).standard_normal(200_003).astype("float32") for i in range(2))
    whole, pieces = [nn.Parameter(w)], [nn.Parameter(piece) for piece in np.array_split(w, 50)]
    optimizers = [getattr(optim, name.split()[0])(ps, **RULES[name]) for ps in (whole, *([p] for p in pieces))]
    whole[0].grad = Tensor(g)
    for p, piece in zip(pieces, np.array_split(g, 50)):
        p.grad = Tensor(piece)
    with tg.kernel_face(face):
        for optimizer in optimizers * 3:
            optimizer.step()
    assert whole[0].dtype == np.float32
    np.testing.assert_allclose(whole[0].data, np.concatenate([p.data for p in pieces]), rtol=1e-6, atol=1e-7)


def test_errors():
    with pytest.raises(ValueError, match="no parameters"):
        optim.SGD([])
    with pytest.raises(ValueError, match="'lrr'"):
        optim.SGD([{"params": [nn.Parameter([1.0])], "lrr": 1}])
    with pytest.raises(ValueError, match="no parameter has a gradient"):
        optim.clip_grad_norm_([nn.Parameter([1.0])], 1.0)


@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_clipped_norm_is_the_smaller_of_norm_and_limit(limit):
    parameters = [nn.Parameter(np.zeros(3)), nn.Parameter(np.zeros((2, 2)))]
    for p in parameters:
        p.grad = Tensor(np.random.default_rng(0).standard_normal(p.shape))
    before = np.sqrt(sum((p.grad.data ** 2).sum() for p in parameters))
    assert optim.clip_grad_norm_(parameters, limit) == pytest.approx(before)
    after = np.sqrt(sum((p.grad.data ** 2).sum() for p in parameters))
    assert after == pytest.approx(min(before, limit), rel=1e-5)


def test_ema_follows_and_swaps_back():
    layer = nn.Linear(2, 2)
    ema, start = optim.EMA(layer, decay=0.5), layer.weight.data.copy()
    layer.weight.data[...] = start + 1
    ema.update()
    now = layer.weight.data.copy()
    ema.swap()
    np.testing.assert_allclose(layer.weight.data, start + 1 - 2 / 11, rtol=1e-5)       # decay (1 + 1) / (10 + 1) at first
    ema.swap()
    np.testing.assert_array_equal(layer.weight.data, now)
