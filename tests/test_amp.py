"""Mixed precision: who works in which float type, gradients as if in float32 up to rounding, and a scaler like PyTorch's."""
import warnings

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, amp, autograd, functional as F, nn, optim
from tinygrad_edu.amp import GradScaler, autocast
from tinygrad_edu.memory import checkpoint


def draw(*shape, seed=0, grad=True):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype("float32"), requires_grad=grad)


# ---------------------------------------------------------------- who works in what

x, image, ids = draw(4, 4), draw(2, 3, 5, 5), np.array([0, 1, 2, 3])
OPERATIONS = {
    "float16": {
        "matmul": lambda: x @ x, "linear": lambda: nn.Linear(4, 2)(x), "conv2d": lambda: nn.Conv2d(3, 2, 3)(image),
        "conv_transpose2d": lambda: nn.ConvTranspose2d(3, 2, 3)(image), "lstm": lambda: nn.LSTM(4, 5)(x.reshape(2, 2, 4))[0],
        "attention": lambda: F.scaled_dot_product_attention(x, x, x), "relu of a product": lambda: F.relu(x @ x),
        "pooling of a product": lambda: F.max_pool2d(nn.Conv2d(3, 2, 3)(image), 2), "gelu of a product": lambda: F.gelu(x @ x),
        "dropout of a product": lambda: F.dropout(x @ x), "sum of two products": lambda: x @ x + x @ x},
    "float32": {
        "sum of a product": lambda: (x @ x).sum(), "mean": lambda: (x @ x).mean(), "exp": lambda: tg.exp(x @ x),
        "softmax": lambda: F.softmax(x @ x), "layer_norm": lambda: nn.LayerNorm(4)(x @ x), "variance": lambda: (x @ x).var(),
        "batch_norm": lambda: nn.BatchNorm1d(4)(x @ x), "cross_entropy": lambda: F.cross_entropy(x @ x, ids),
        "group_norm with silu": lambda: F.group_norm_silu(nn.Conv2d(3, 2, 3)(image), 1),
        "mse": lambda: F.mse_loss(x @ x, tg.zeros(4, 4)), "product + data": lambda: x @ x + x, "relu": lambda: F.relu(x),
        "embedding": lambda: nn.Embedding(5, 3)(ids)},
}
CASES = [(dtype, name) for dtype, operations in OPERATIONS.items() for name in operations]


@pytest.mark.parametrize("dtype, name", CASES)
def test_types_under_autocast(dtype, name):
    run = OPERATIONS[dtype][name]
    tg.manual_seed(0)
    plain = run()
    tg.manual_seed(0)
    with autocast():
        y = run()
    assert y.dtype == dtype and plain.dtype == np.float32
    np.testing.assert_allclose(y.data, plain.data, rtol=0.01, atol=0.02)


@pytest.mark.parametrize("dtype, name", CASES)
def test_gradients_come_back_as_float32(dtype, name):
    run = OPERATIONS[dtype][name]
    answers = []
    for enabled in (False, True):
        tg.manual_seed(0)
        x.grad = image.grad = None
        with autocast(enabled=enabled):
            y = run()
        (y * 0.5).sum().backward()
        answers.append([t.grad for t in (x, image)])
    for plain, mixed in zip(*answers):
        assert (plain is None) == (mixed is None)
        if plain is not None:
            assert mixed.dtype == np.float32
            np.testing.assert_allclose(mixed.data, plain.data, rtol=0.02, atol=0.05)
            if name not in ("relu", "product + data", "embedding"):
                assert (mixed.data != plain.data).any()             # it did round somewhere


def test_the_tables_name_operations_and_no_operation_twice():
    def names(kind):
        return {kind.__name__}.union(*(names(sub) for sub in kind.__subclasses__()))
    assert amp.HALF | amp.FULL <= names(autograd.Function) and not amp.HALF & amp.FULL


def test_products_add_up_in_float32():
    """2048 + 1 is 2048 in float16; a product that added up in it would stop there."""
    ones = tg.ones(1, 4096)
    with autocast():
        y = ones @ ones.T
    assert y.dtype == np.float16 and y.item() == 4096


def test_a_product_rounds_its_operands_and_its_result():
    a, b = draw(3, 5, grad=False), draw(5, 2, seed=1, grad=False)
    with autocast():
        y = a @ b
    half = a.data.astype("float16").astype("float32") @ b.data.astype("float16").astype("float32")
    np.testing.assert_array_equal(y.data, half.astype("float16"), strict=True)


def test_float64_and_integers_are_left_alone():
    d = Tensor(np.ones((2, 2)))
    with autocast():
        assert (d @ d).dtype == np.float64 and (d @ tg.ones(2, 2)).dtype == np.float64
        assert (tg.tensor([1, 2]) + 1).dtype == np.int64
        assert type(tg.exp(np.ones(2, np.float32))) is np.ndarray


def test_nothing_changes_outside_or_when_disabled():
    with autocast():
        with autocast(enabled=False):
            assert (x @ x).dtype == np.float32
        assert (x @ x).dtype == np.float16
    assert (x @ x).dtype == np.float32 and autograd._autocast is None
    with pytest.raises(KeyError):
        with autocast():
            raise KeyError
    assert autograd._autocast is None


def test_bfloat16_is_refused():
    with pytest.raises(ValueError, match="got dtype 'bfloat16', expected 'float16'; arrays of NumPy and CuPy have no bfloat16"):
        with autocast("bfloat16"):
            pass


def test_nodes_know_their_line_and_kernels_their_reference():
    with autocast():
        y = tg.exp(x @ x)
        with tg.reference_only():
            z = F.layer_norm(x @ x, 4)
    assert "y = tg.exp(x @ x)" in str(y.creator) and z.dtype == np.float32


def test_double_backward_through_the_casts():
    a = draw(3, 3)
    with autocast():
        y = tg.tanh(a @ a).sum()
        (g,) = autograd.grad(y, a, create_graph=True)
        (gg,) = autograd.grad((g * g).sum(), a)
    (g2,) = autograd.grad(tg.tanh(a @ a).sum(), a, create_graph=True)
    (gg2,) = autograd.grad((g2 * g2).sum(), a)
    np.testing.assert_allclose(gg.data, gg2.data, rtol=0.05, atol=0.1)


def test_recomputing_remembers_autocast():
    def f(x):
        return F.relu(x @ x) @ x

    with autocast():
        plain, again = f(x), checkpoint(f, x)
    grads = [autograd.grad(y.sum(), x)[0].data for y in (plain, again)]
    np.testing.assert_array_equal(*grads)


def test_a_gpu_multiplies_float16_itself(monkeypatch):
    """Where the arrays are not NumPy's, products get float16 arrays, and only hand-written CUDA gets float32."""
    seen = []

    class MatMul(autograd.Function):
        def forward(self, a, b):
            seen.append(a.dtype)
            return a @ b

    monkeypatch.setattr(Tensor, "device", "cuda")
    with autocast():
        y = MatMul().apply(x.detach(), x.detach())
        monkeypatch.undo()
    assert seen == ["float16"] and y.dtype == np.float16


# ---------------------------------------------------------------- underflow, overflow, training

def test_small_gradients_underflow_without_the_scaler_only():
    a, b = draw(8, 8), draw(8, 8, seed=1)

    def gradient(scale):
        a.grad = None
        with autocast():
            loss = (a @ b).sum() * 1e-8                             # 1e-8 is 0 in float16
            (loss * scale).backward()
        return a.grad.data / scale

    assert not gradient(1.0).any()
    np.testing.assert_allclose(gradient(65536.0), np.broadcast_to(1e-8 * b.data.sum(axis=1), (8, 8)), rtol=0.01)


def test_overflow_is_silent_inside_and_the_step_is_left_out():
    p = nn.Parameter(np.ones((2, 2), "float32"))
    optimizer, scaler = optim.SGD([p], lr=1.0), GradScaler(init_scale=2.0 ** 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for expected in (2.0 ** 19, 2.0 ** 18, 2.0 ** 17):
            with autocast():
                loss = (p @ tg.ones(2, 2)).sum()
                optimizer.zero_grad()
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
            assert p.tolist() == [[1, 1], [1, 1]] and scaler.get_scale() == expected
        while scaler.get_scale() > 2.0 ** 14:
            scaler.update(scaler.get_scale() / 2)
        with autocast():
            optimizer.zero_grad()
            scaler.scale((p @ tg.ones(2, 2)).sum()).backward()
            scaler.step(optimizer)
    assert p.tolist() == [[-1, -1], [-1, -1]]


def test_scaled_training_follows_float32():
    rng = np.random.default_rng(0)
    inputs, targets = rng.standard_normal((64, 5)).astype("float32"), rng.integers(0, 3, 64)
    losses = []
    for mixed in (False, True):
        tg.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 3))
        optimizer, scaler = optim.Adam(model.parameters(), lr=0.01), GradScaler(enabled=mixed)
        for _ in range(60):
            with autocast(enabled=mixed):
                loss = F.cross_entropy(model(Tensor(inputs)), targets)
                optimizer.zero_grad()
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=0.02) and losses[0] < 0.9
    assert all(p.dtype == np.float32 for p in model.parameters())


# ---------------------------------------------------------------- the scaler, beside PyTorch's

def events(scaler, make_optimizer, set_gradients, pattern):
    """The scale and the weight after each step; `pattern`: a gradient for each."""
    optimizer, weight = make_optimizer()
    for value in pattern:
        set_gradients(value * scaler.get_scale() if np.isfinite(value) else value)
        scaler.step(optimizer)
        scaler.update()
        yield scaler.get_scale(), weight()


def test_the_scale_moves_as_in_pytorch():
    torch = pytest.importorskip("torch")
    options = dict(init_scale=1024.0, growth_factor=3.0, backoff_factor=0.25, growth_interval=3)
    pattern = [1, 1, 1, float("inf"), 1, float("nan"), 1, 1, 1, 1, 1, 1, 1]
    p, q = nn.Parameter([0.0]), torch.nn.Parameter(torch.zeros(1))

    ours, theirs = GradScaler(**options), torch.amp.GradScaler("cpu", **options)
    mine = events(ours, lambda: (optim.SGD([p], lr=1.0), p.item),
                  lambda g: (setattr(p, "grad", Tensor([g])), ours.scale(tg.ones(1))), pattern)
    yours = events(theirs, lambda: (torch.optim.SGD([q], lr=1.0), q.item),
                   lambda g: (setattr(q, "grad", torch.tensor([float(g)])), theirs.scale(torch.ones(1))), pattern)
    assert list(mine) == list(yours)
    assert ours.state_dict() == theirs.state_dict()

    defaults = GradScaler(), torch.amp.GradScaler("cpu")
    assert defaults[0].state_dict() == defaults[1].state_dict()
    theirs.load_state_dict(defaults[0].state_dict())
    ours.load_state_dict(defaults[1].state_dict())
    assert ours.get_scale() == theirs.get_scale() == 65536


def test_unscale_then_clip_then_step():
    p = nn.Parameter([0.0, 0.0])
    optimizer, scaler = optim.SGD([p], lr=1.0), GradScaler(init_scale=8.0)
    p.grad = Tensor([24.0, 32.0])
    scaler.unscale_(optimizer)
    assert p.grad.tolist() == [3, 4]
    optim.clip_grad_norm_([p], 1.0)
    scaler.step(optimizer)
    np.testing.assert_allclose(p.data, [-0.6, -0.8], rtol=1e-5)


def test_two_optimizers_share_a_scale():
    p, q = nn.Parameter([0.0]), nn.Parameter([0.0])
    first, second, scaler = optim.SGD([p], lr=1.0), optim.SGD([q], lr=1.0), GradScaler(init_scale=8.0)
    p.grad, q.grad = Tensor([8.0]), Tensor([float("inf")])
    scaler.step(first)
    scaler.step(second)
    scaler.update()
    assert (p.item(), q.item(), scaler.get_scale()) == (-1, 0, 4)


def test_a_disabled_scaler_only_steps():
    p = nn.Parameter([0.0])
    optimizer, scaler = optim.SGD([p], lr=1.0), GradScaler(enabled=False)
    p.grad = Tensor([2.0])
    assert scaler.scale(p) is p and scaler.get_scale() == 1 and scaler.state_dict() == {}
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    scaler.load_state_dict({})
    assert p.item() == -2


def test_losses_in_a_list_and_errors():
    p = nn.Parameter([1.0])
    optimizer, scaler = optim.SGD([p], lr=1.0), GradScaler(init_scale=2.0)
    assert [y.tolist() for y in scaler.scale([p, (p * 3.0)])] == [[2], [6]]
    with pytest.raises(RuntimeError, match="no gradients were looked at"):
        scaler.update()
    with pytest.raises(RuntimeError, match="no parameter has a gradient"):
        scaler.step(optimizer)
    p.grad = Tensor([2.0])
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="unscaled already"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="made its step already"):
        scaler.step(optimizer)
    with pytest.raises(ValueError, match="got init_scale 0"):
        GradScaler(init_scale=0)
    with pytest.raises(KeyError, match="expected"):
        scaler.load_state_dict({"scale": 1.0})
