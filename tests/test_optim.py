"""Optimizers: 20 steps equal to PyTorch's to 1e-10, missing gradients, groups, and what the flat buffer must not break."""
import math

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, nn, optim
from kernel_faces import FACES

RULES = {
    "SGD": dict(lr=0.1), "SGD momentum": dict(lr=0.1, momentum=0.9), "SGD decay": dict(lr=0.1, weight_decay=0.05),
    "SGD nesterov": dict(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.1),
    "SGD dampening": dict(lr=0.1, momentum=0.8, dampening=0.3, weight_decay=0.1, maximize=True),
    "Adagrad": dict(lr=0.1),
    "Adagrad decay": dict(lr=0.1, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.5, eps=1e-3),
    "RMSprop": dict(lr=0.01, alpha=0.9), "RMSprop decay": dict(lr=0.01, weight_decay=0.1),
    "RMSprop centered": dict(lr=0.01, alpha=0.9, centered=True),
    "RMSprop all": dict(lr=0.01, momentum=0.7, centered=True, weight_decay=0.1),
    "Adadelta": dict(), "Adadelta decay": dict(lr=0.5, rho=0.8, eps=1e-3, weight_decay=0.1),
    "Adam": dict(lr=0.05), "Adam decay": dict(lr=0.05, betas=(0.8, 0.99), weight_decay=0.1),
    "Adam amsgrad": dict(lr=0.05, betas=(0.8, 0.9), amsgrad=True, weight_decay=0.1),
    "AdamW": dict(lr=0.05, weight_decay=0.2), "AdamW amsgrad": dict(lr=0.05, betas=(0.8, 0.9), amsgrad=True),
    "Adamax": dict(lr=0.05), "Adamax decay": dict(lr=0.05, betas=(0.8, 0.9), weight_decay=0.1),
    "NAdam": dict(lr=0.05), "NAdam decay": dict(lr=0.05, betas=(0.8, 0.99), weight_decay=0.1, momentum_decay=0.1),
    "RAdam": dict(lr=0.05), "RAdam decay": dict(lr=0.05, betas=(0.8, 0.9), weight_decay=0.1),
    "LAMB": dict(lr=0.05), "LAMB no decay": dict(lr=0.05, betas=(0.8, 0.99), weight_decay=0.0),
    "Lion": dict(lr=0.01), "Lion decay": dict(lr=0.01, betas=(0.8, 0.9), weight_decay=0.5),
}


# The two rules that PyTorch lacks, for one parameter, by their papers: w, the gradient and what was kept, in and out.

def lamb_by_hand(w, g, kept, t, lr, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01):
    """Algorithm 2 of You et al."""
    m, v = kept or (0 * w, 0 * w)
    m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g ** 2
    r = m / (1 - betas[0] ** t) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return w - lr * np.linalg.norm(w) / np.linalg.norm(r + weight_decay * w) * (r + weight_decay * w), (m, v)


def lion_by_hand(w, g, kept, t, lr, betas=(0.9, 0.99), weight_decay=0.0):
    """Program 1 of Chen et al."""
    m = 0 * w if kept is None else kept
    update = np.sign(betas[0] * m + (1 - betas[0]) * g)
    return w - lr * (update + weight_decay * w), betas[1] * m + (1 - betas[1]) * g


BY_HAND = {"LAMB": lamb_by_hand, "Lion": lion_by_hand}


def problem():
    rng = np.random.default_rng(0)
    shapes = (3, 4), (4,), (2, 2)
    return [rng.standard_normal(s) for s in shapes], [rng.standard_normal((20, *s)) for s in shapes]


def absent(missing, i, step):
    """With `missing`, the second parameter has no gradient at every third step: it must not move, nor its step count."""
    return missing and i == 1 and step % 3 == 0


def our_trajectory(name, missing, face):
    """The three parameters, in two groups, after each of 20 steps."""
    starts, gradients = problem()
    ps, rows = [nn.Parameter(w) for w in starts], []
    optimizer = getattr(optim, name.split()[0])([{"params": ps[:1], "lr": 0.03}, {"params": ps[1:]}], **RULES[name])
    for step in range(20):
        for i, (p, g) in enumerate(zip(ps, gradients)):
            p.grad = None if absent(missing, i, step) else Tensor(g[step])
        with tg.kernel_face(face):
            optimizer.step()
        rows.append([p.data.copy() for p in ps])
    return rows


def pytorch_trajectory(name, missing):
    torch = pytest.importorskip("torch")
    torch.set_default_dtype(torch.float64)                  # NAdam keeps a product of this dtype, of float64 only if told so
    starts, gradients = problem()
    ps, rows = [torch.nn.Parameter(torch.tensor(w)) for w in starts], []
    optimizer = getattr(torch.optim, name.split()[0])([{"params": ps[:1], "lr": 0.03}, {"params": ps[1:]}], **RULES[name])
    for step in range(20):
        for i, (p, g) in enumerate(zip(ps, gradients)):
            p.grad = None if absent(missing, i, step) else torch.tensor(g[step])
        optimizer.step()
        rows.append([p.detach().numpy().copy() for p in ps])
    torch.set_default_dtype(torch.float32)
    return rows


def trajectory_by_hand(name, missing):
    ws, gradients = problem()
    kept, t, rows = [None] * 3, [0] * 3, []
    for step in range(20):
        for i, g in enumerate(gradients):
            if not absent(missing, i, step):
                t[i] += 1
                options = {**RULES[name], "lr": 0.03 if i == 0 else RULES[name]["lr"]}
                ws[i], kept[i] = BY_HAND[name.split()[0]](ws[i], g[step], kept[i], t[i], **options)
        rows.append(list(ws))
    return rows


def equals_oracle(name, missing, face):
    oracle = trajectory_by_hand(name, missing) if name.split()[0] in BY_HAND else pytorch_trajectory(name, missing)
    pairs = zip(sum(our_trajectory(name, missing, face), []), sum(oracle, []), strict=True)
    return all(np.allclose(ours, theirs, rtol=1e-10, atol=1e-10) for ours, theirs in pairs)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("face", FACES)
def test_trajectory_equals_pytorch_or_the_paper(name, missing, face):
    assert equals_oracle(name, missing, face)


def test_every_optimizer_has_a_trajectory(capsys):
    rows = {}
    for name in RULES:
        rows.setdefault(name.split()[0], []).append(equals_oracle(name, False, "arrays"))
    with capsys.disabled():
        print(f"\n  optimizers, equal to PyTorch or to the paper: {sum(map(all, rows.values()))} of {len(rows)} equal", end="")
    rules = {name for name, thing in vars(optim).items() if isinstance(thing, type) and issubclass(thing, optim.Optimizer)}
    assert rows.keys() == rules - {"Optimizer"} and all(map(all, rows.values()))


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


@pytest.mark.parametrize("name", ["SGD momentum", "RMSprop all", "Adam decay", "Adam amsgrad", "AdamW", "NAdam"])
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


def trained(name, steps, missing=False):
    """An optimizer of two groups and two dtypes after some steps, its parameters, and the function that does the steps."""
    starts, gradients = problem()
    ps = [nn.Parameter(w.astype("float32") if i == 2 else w) for i, w in enumerate(starts)]
    optimizer = getattr(optim, name.split()[0])([{"params": ps[:1]}, {"params": ps[1:], "lr": 0.02}], **RULES[name])

    def go(first, last):
        for step in range(first, last):
            for i, (p, g) in enumerate(zip(ps, gradients)):
                p.grad = None if absent(missing, i, step) else Tensor(g[step].astype(p.dtype))
            optimizer.step()

    go(0, steps)
    return optimizer, ps, go


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("missing", [False, True])
def test_resuming_is_bit_exact(name, missing):
    """The new optimizer has itself made steps before: nothing of them may stay."""
    optimizer, ps, go = trained(name, 9, missing)
    again, copies, go_again = trained(name, 4, missing)
    again.param_groups[0]["lr"] = 7.0
    for p, copy in zip(ps, copies):
        copy.data[...] = p.data
    again.load_state_dict(optimizer.state_dict())
    go(9, 20), go_again(9, 20)
    for p, copy in zip(ps, copies):
        np.testing.assert_array_equal(p.data, copy.data)
    ours, theirs = optimizer.state_dict(), again.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    for i in range(3):
        assert ours["state"][i].keys() == theirs["state"][i].keys()
        for key in ours["state"][i]:
            np.testing.assert_array_equal(ours["state"][i][key], theirs["state"][i][key])


def test_the_state_is_a_copy_in_the_shapes_of_the_parameters():
    optimizer, ps, go = trained("Adam", 3, missing=True)
    state = optimizer.state_dict()
    before = state["state"][0]["m"].copy()
    go(3, 5)
    assert state["state"][0]["m"].shape == ps[0].shape and np.array_equal(state["state"][0]["m"], before)
    assert [state["state"][i]["t"] for i in range(3)] == [3, 2, 3]
    assert [group["params"] for group in state["param_groups"]] == [[0], [1, 2]] and state["param_groups"][1]["lr"] == 0.02
    other, _, go_other = trained("Adam", 0)
    other.load_state_dict(state)
    go_other(0, 2)
    assert np.array_equal(state["state"][0]["m"], before)


def test_a_state_that_does_not_fit_changes_nothing():
    optimizer, _, _ = trained("Adam", 3)
    kept = optimizer.state_dict()

    def wrong(change):
        state = optimizer.state_dict()
        change(state)
        return state

    for message, change in {
        "state of 2, expected .1, 2. and 3": lambda s: s["state"].pop(1),
        r"groups of .1. parameters": lambda s: s["param_groups"].pop(),
        r"groups of .1, 1. parameters": lambda s: s["param_groups"][1]["params"].pop(),
        "got m of shape .2,., expected .2, 2.": lambda s: s["state"][2].update(m=np.zeros(2)),
        "got state named .'m', 't', 'v', 'x'.": lambda s: s["state"][1].update(x=np.zeros(4)),
        "expected 't' and": lambda s: s["state"][0].pop("t"),
        "differ in 'momentum'": lambda s: s["param_groups"][0].update(momentum=0.9),
        "differ in 'eps'": lambda s: s["param_groups"][1].pop("eps"),
        "got lr = -1": lambda s: s["param_groups"][1].update(lr=-1),
    }.items():
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict(wrong(change))
    now = optimizer.state_dict()
    assert now["param_groups"] == kept["param_groups"]
    assert all(np.array_equal(now["state"][i][key], kept["state"][i][key]) for i in range(3) for key in kept["state"][i])


def test_a_group_added_later_begins_at_its_own_first_step():
    p, q = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimizer = optim.Adam([p], lr=0.1)
    p.grad = q.grad = Tensor([1.0])
    optimizer.step()
    optimizer.add_param_group({"params": q, "lr": 0.5})
    optimizer.step()
    assert p.item() == pytest.approx(0.8) and q.item() == pytest.approx(0.5)
    assert [optimizer.state_dict()["state"][i]["t"] for i in (0, 1)] == [2, 1]
    with pytest.raises(ValueError, match="a parameter twice"):
        optimizer.add_param_group({"params": [q]})


def test_errors():
    with pytest.raises(ValueError, match="no parameters"):
        optim.SGD([])
    with pytest.raises(ValueError, match="'lrr'"):
        optim.SGD([{"params": [nn.Parameter([1.0])], "lrr": 1}])
    for name, options, message in (("SGD", dict(lr=-1), "lr = -1, expected 0 or more"),
                                   ("Adam", dict(betas=(0.9, 1.0)), "0 <= b < 1"),
                                   ("RMSprop", dict(alpha=float("nan")), "alpha = nan")):
        with pytest.raises(ValueError, match=message):
            getattr(optim, name)([nn.Parameter([1.0])], **options)
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
    assert after == pytest.approx(min(before, limit), rel=1e-12)


@pytest.mark.parametrize("p", [1, 2, 3, math.inf])
@pytest.mark.parametrize("limit", [0.5, 100.0, math.inf])
def test_clipping_equals_pytorch(p, limit):
    """PyTorch divides by the norm plus 1e-6."""
    torch = pytest.importorskip("torch")
    arrays = [np.random.default_rng(0).standard_normal(shape) for shape in ((3,), (2, 2), (0,))]
    ours, theirs = [nn.Parameter(a) for a in arrays], [torch.nn.Parameter(torch.tensor(a)) for a in arrays]
    for q, r, a in zip(ours, theirs, arrays):
        q.grad, r.grad = Tensor(a), torch.tensor(a)
    norm = optim.clip_grad_norm_(ours, limit, p)
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs[:2], limit, p).item(), rel=1e-12)
    for q, r in zip(ours, theirs):
        np.testing.assert_allclose(q.grad.data, r.grad.numpy(), rtol=2e-6)
    optim.clip_grad_value_(ours, 0.1), torch.nn.utils.clip_grad_value_(theirs, 0.1)
    for q, r in zip(ours, theirs):
        np.testing.assert_allclose(q.grad.data, r.grad.numpy(), rtol=2e-6)


def test_clipping_at_zero_and_at_nan():
    p = nn.Parameter([1.0, 2.0])
    p.grad = Tensor([0.0, 0.0])
    assert optim.clip_grad_norm_([p], 1.0) == 0 and p.grad.tolist() == [0, 0]
    p.grad = Tensor([math.nan, 1.0])
    with pytest.raises(RuntimeError, match="norm nan, expected a finite one"):
        optim.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
    assert p.grad.tolist()[1] == 1 and math.isnan(optim.clip_grad_norm_([p], 1.0)) and math.isnan(p.grad.tolist()[1])


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


def test_ema_resumes():
    def averaged(updates):
        tg.manual_seed(0)
        layer = nn.Linear(2, 3)
        ema = optim.EMA(layer, decay=0.9)
        for i in range(updates):
            layer.weight.data += i
            ema.update()
        return layer, ema

    layer, ema = averaged(20)
    other, again = averaged(12)
    state = ema.state_dict()
    ema.update()
    again.load_state_dict(state)
    other.load_state_dict(layer.state_dict())
    again.update()
    assert again.t == 21 and all(np.array_equal(a, b) for a, b in zip(again.averages, ema.averages))
    with pytest.raises(ValueError, match="got weight of shape None, expected .3, 2."):
        again.load_state_dict({"t": 0, "averages": {"bias": np.zeros(3)}})
    with pytest.raises(ValueError, match="got bias of shape .1,., expected .3,."):
        again.load_state_dict({"t": 0, "averages": {"bias": np.zeros(1), "weight": np.zeros((3, 2))}})
    assert again.t == 21


def test_lamb_leaves_a_parameter_of_zeros_to_adam():
    """|w| = 0 has no ratio: the step is Adam's, and no layer is stuck at 0."""
    p, q = nn.Parameter(np.zeros(3)), nn.Parameter(np.zeros(3))
    lamb, adam = optim.LAMB([p], lr=0.1), optim.Adam([q], lr=0.1, eps=1e-6)
    p.grad = q.grad = Tensor(np.array([1.0, -2.0, 0.5]))
    lamb.step(), adam.step()
    np.testing.assert_allclose(p.data, q.data, rtol=1e-12)
    r = nn.Parameter(np.ones(3))
    r.grad = Tensor(np.zeros(3))
    optim.LAMB([r], weight_decay=0.0).step()
    np.testing.assert_array_equal(r.data, np.ones(3))


@pytest.mark.parametrize("rise, length", [(lambda lr: abs(math.log10(lr)), 61), (lambda lr: 1.0 if lr < 1 else math.nan, 50),
                                          (lambda lr: 1.0 if lr < 1 else 1e9, 50)])
def test_lr_range_test_raises_the_rate_by_one_factor_and_stops_when_the_loss_explodes(rise, length):
    p = nn.Parameter([1.0])
    optimizer, seen = optim.SGD([p], lr=0.5), []

    def train_step():
        seen.append(optimizer.param_groups[0]["lr"])
        return Tensor(rise(seen[-1]))

    lrs, losses = optim.lr_range_test(optimizer, train_step, start=1e-5, end=10.0, steps=61)
    assert len(lrs) == len(losses) == length and lrs == seen[:length]
    np.testing.assert_allclose(lrs, np.geomspace(1e-5, 10, 61)[:length], rtol=1e-12)
    assert losses[0] == pytest.approx(rise(1e-5)) and optimizer.param_groups[0]["lr"] == 0.5
