"""Every public loss against PyTorch's of the same name, value and gradients; where PyTorch has none, against its formula.

`python tests/test_losses.py` prints the table. Second derivatives and shapes at random are the matter of op_table_losses.py.
"""
import inspect
import math

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F, nn
from tinygrad_edu.testing import gradcheck

CLOSE = dict(rtol=1e-10, atol=1e-10)
rng = np.random.default_rng(0)
X, Y, Z, P, Q = rng.standard_normal((6, 5)), rng.standard_normal((6, 5)), rng.standard_normal((6, 5)), *rng.random((2, 6, 5))
MAPS, VAR = rng.standard_normal((6, 5, 2, 3)), rng.uniform(0.1, 2, (6, 5))
MASK, SIGNS, SIDES = (P > 0.5).astype(float), np.sign(X), np.sign(Y[:, 0])
IDS, MAP_IDS, WEIGHT = rng.integers(0, 5, 6), rng.integers(0, 5, (6, 2, 3)), np.linspace(0.5, 2, 5)
SOME, MAP_SOME = np.where(np.arange(6) % 3, IDS, -100), np.where(MAP_IDS == 1, -100, MAP_IDS)
COUNTS = rng.poisson(2.0, (6, 5)).astype(float)
SPEECH, WORDS = rng.standard_normal((9, 6, 5)), rng.integers(1, 5, (6, 4))
STEPS, LETTERS = np.array([9, 8, 9, 7, 9, 9]), np.array([4, 3, 0, 2, 4, 1])
THREE = ("mean", "sum", "none")

# name: [(differentiable arguments, other arguments, options), ...]; each is tried with every reduction.
CASES = {
    "mse_loss": [((X, Y), (), {})],
    "l1_loss": [((X, Y), (), {})],
    "smooth_l1_loss": [((X, Y), (), {}), ((X, Y), (), dict(beta=0.3)), ((X, Y), (), dict(beta=0.0))],
    "huber_loss": [((X, Y), (), {}), ((X, Y), (), dict(delta=0.4))],
    "gaussian_nll_loss": [((X, Y, VAR), (), {}), ((X, Y, VAR[:, 0]), (), dict(full=True)), ((X, Y, VAR[:, :1]), (), {}),
                          ((X, Y, VAR - 0.1), (), dict(eps=0.3))],
    "poisson_nll_loss": [((X, COUNTS), (), {}), ((VAR,), (COUNTS,), dict(log_input=False, full=True)),
                         ((X,), (COUNTS,), dict(full=True))],
    "kl_div": [((X,), (P,), {}), ((X, Y), (), dict(log_target=True)), ((X, P), (), {}), ((X,), (MASK,), {})],
    "cross_entropy": [((X,), (IDS,), {}), ((MAPS,), (MAP_SOME,), dict(weight=WEIGHT, label_smoothing=0.2)), ((X, P), (), {})],
    "nll_loss": [((X,), (IDS,), {}), ((X,), (SOME,), dict(weight=WEIGHT)), ((MAPS,), (MAP_SOME,), dict(weight=WEIGHT)),
                 ((MAPS,), (MAP_IDS,), dict(ignore_index=2))],
    "binary_cross_entropy": [((P, Q), (), {}), ((P,), (MASK,), dict(weight=WEIGHT))],
    "binary_cross_entropy_with_logits": [((X, P), (), {}), ((X,), (MASK,), dict(weight=WEIGHT, pos_weight=WEIGHT))],
    "soft_margin_loss": [((X,), (SIGNS,), {})],
    "multi_margin_loss": [((X,), (IDS,), {}), ((X,), (IDS,), dict(p=2, margin=0.6, weight=WEIGHT))],
    "margin_ranking_loss": [((X, Y), (SIGNS,), {}), ((X, Y), (SIGNS,), dict(margin=0.7))],
    "hinge_embedding_loss": [((X,), (SIGNS,), {}), ((X,), (SIGNS,), dict(margin=0.3))],
    "cosine_embedding_loss": [((X, Y), (SIDES,), {}), ((X, Y), (SIDES,), dict(margin=-0.4))],
    "triplet_margin_loss": [((X, Y, Z), (), {}), ((X, Y, Z), (), dict(margin=0.4, p=1.0, swap=True)),
                            ((X, Y, Z), (), dict(p=3.0, swap=True))],
    "ctc_loss": [((SPEECH,), (WORDS, STEPS, LETTERS), {}), ((SPEECH,), (WORDS % 4, STEPS, LETTERS), dict(blank=4)),
                 ((SPEECH,), (WORDS, STEPS // 3, LETTERS), dict(zero_infinity=True))],
}
MODULES = {"mse_loss": "MSELoss", "l1_loss": "L1Loss", "smooth_l1_loss": "SmoothL1Loss", "huber_loss": "HuberLoss",
           "gaussian_nll_loss": "GaussianNLLLoss", "poisson_nll_loss": "PoissonNLLLoss", "kl_div": "KLDivLoss",
           "cross_entropy": "CrossEntropyLoss", "nll_loss": "NLLLoss", "binary_cross_entropy": "BCELoss",
           "binary_cross_entropy_with_logits": "BCEWithLogitsLoss", "soft_margin_loss": "SoftMarginLoss",
           "multi_margin_loss": "MultiMarginLoss", "margin_ranking_loss": "MarginRankingLoss",
           "hinge_embedding_loss": "HingeEmbeddingLoss", "cosine_embedding_loss": "CosineEmbeddingLoss",
           "triplet_margin_loss": "TripletMarginLoss", "ctc_loss": "CTCLoss"}


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)

def each(x):
    return x.mean(), x.sum(), x

def torch_focal(torch, x, t, gamma=2.0):
    p = torch.softmax(x, 1).gather(1, t[:, None])[:, 0]
    return each(-(1 - p) ** gamma * p.log())

def torch_sigmoid_focal(torch, x, t, alpha=0.25, gamma=2.0):
    p = torch.sigmoid(x)
    return each(-alpha * t * (1 - p) ** gamma * p.log() - (1 - alpha) * (1 - t) * p ** gamma * (1 - p).log())

def torch_dice(torch, p, t):
    return each(1 - (2 * (p * t).sum(1) + 1e-8) / ((p * p).sum(1) + (t * t).sum(1) + 1e-8))

def torch_contrastive(torch, a, b, t):
    d = (a - b + 1e-6).norm(dim=1)
    return each(torch.where(t > 0, d ** 2, (2 - d).clamp(min=0) ** 2) / 2)

def torch_info_nce(torch, a, b, symmetric=False):
    table = unit(a) @ unit(b).T / 0.5
    losses = -table.log_softmax(1).diagonal()
    return each((losses - table.log_softmax(0).diagonal()) / 2 if symmetric else losses)

def torch_nt_xent(torch, a, b):
    z = torch.cat([unit(a), unit(b)])
    table = (z @ z.T / 0.5).masked_fill(torch.eye(12, dtype=bool), -math.inf)
    return each(-table.log_softmax(1)[torch.arange(12), torch.arange(12).roll(6)])

# Losses that PyTorch lacks: name: [(differentiable arguments, other arguments, options, the formula)]
FORMULAS = {
    "focal_loss": [((X,), (IDS,), {}, torch_focal),
                   ((X,), (IDS,), dict(gamma=0.5), lambda torch, x, t: torch_focal(torch, x, t, 0.5))],
    "sigmoid_focal_loss": [((X,), (MASK,), {}, torch_sigmoid_focal)],
    "dice_loss": [((P,), (MASK,), {}, torch_dice)],
    "hinge_loss": [((X,), (SIGNS,), {}, lambda torch, x, t: each((1 - x * t).clamp(min=0)))],
    "contrastive_loss": [((X, Y), (SIDES,), dict(margin=2.0), torch_contrastive)],
    "info_nce_loss": [((X, Y), (), dict(temperature=0.5), torch_info_nce),
                      ((X, Y), (), dict(temperature=0.5, symmetric=True),
                       lambda torch, a, b: torch_info_nce(torch, a, b, True))],
    "nt_xent_loss": [((X, Y), (), dict(temperature=0.5), torch_nt_xent)],
    "wasserstein_critic_loss": [((X, Y), (), None, lambda torch, real, fake: (fake.mean() - real.mean(),))],
    "wasserstein_generator_loss": [((X,), (), None, lambda torch, fake: (-fake.mean(),))],
}


def equal(function, theirs, arrays):
    """Is function(*Tensors) equal to theirs(*torch tensors), in value and gradient for a random cotangent, in float64?"""
    import torch

    xs, ts = [Tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    y, t = function(*xs), theirs(*ts)
    np.testing.assert_allclose(y.data, t.detach().numpy(), **CLOSE)
    gy = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(gy), t.backward(torch.tensor(gy))
    for x, right in zip(xs, ts):
        np.testing.assert_allclose(x.grad.data, right.grad.numpy(), **CLOSE)


def check_against_pytorch(name):
    import torch

    torch_of = {id(a): torch.tensor(a) for a in (WEIGHT, P, MASK, IDS, SOME, MAP_IDS, MAP_SOME, SIGNS, SIDES, COUNTS)}
    tensor = lambda a: torch_of.get(id(a), torch.tensor(a)) if isinstance(a, np.ndarray) else a     # noqa: E731
    ours, theirs = getattr(F, name), getattr(torch.nn.functional, name)
    before = (F.log_softmax, lambda x: torch.log_softmax(x, -1)) if name == "ctc_loss" else (lambda x: x,) * 2
    for arrays, others, options in CASES[name]:
        for reduction in THREE + ("batchmean",) * (name == "kl_div"):
            chosen = {**options, "reduction": reduction}
            call = {k: tensor(v) for k, v in chosen.items()}
            fixed = [tensor(a) for a in others]
            equal(lambda x, *xs: ours(before[0](x), *xs, *others, **chosen),
                  lambda t, *ts: theirs(before[1](t), *ts, *fixed, **call), arrays)
            equal(lambda x, *xs: getattr(nn, MODULES[name])(**chosen)(before[0](x), *xs, *others),
                  lambda t, *ts: getattr(torch.nn, MODULES[name])(**call)(before[1](t), *ts, *fixed), arrays)


def check_against_formula(name):
    import torch

    for arrays, others, options, formula in FORMULAS[name]:
        for i, reduction in enumerate(THREE if options is not None else (None,)):
            chosen = {} if options is None else {**options, "reduction": reduction}
            equal(lambda *xs: getattr(F, name)(*xs, *others, **chosen),
                  lambda *ts: formula(torch, *ts, *map(torch.tensor, others))[i], arrays)


quiet = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")          # PyTorch's advice on kl_div


@quiet
@pytest.mark.parametrize("name", CASES)
def test_equals_pytorch(name):
    pytest.importorskip("torch")
    check_against_pytorch(name)


@pytest.mark.parametrize("name", FORMULAS)
def test_equals_its_formula(name):
    pytest.importorskip("torch")
    check_against_formula(name)


def public_losses():
    """Everything in F that is called a loss, and those whose names say it otherwise."""
    others = {"cross_entropy", "binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div"}
    return {name for name, f in vars(F).items() if inspect.isfunction(f) and name.endswith("_loss")} | others

def test_every_loss_has_an_oracle():
    assert public_losses() == set(CASES) | set(FORMULAS)
    modules = {name for name, thing in vars(nn).items() if inspect.isclass(thing) and name.endswith("Loss")}
    assert modules == set(MODULES.values()) and set(MODULES) == set(CASES)


@pytest.mark.parametrize("ours, theirs", [
    (F.pairwise_distance, lambda f, x, y: f.pairwise_distance(x, y)),
    (lambda x, y: F.pairwise_distance(x, y, 1.0), lambda f, x, y: f.pairwise_distance(x, y, 1.0)),
    (lambda x, y: F.pairwise_distance(x, y, 3.0, keepdims=True), lambda f, x, y: f.pairwise_distance(x, y, 3.0, keepdim=True)),
    (lambda x, y: F.pairwise_distance(x, y, math.inf), lambda f, x, y: f.pairwise_distance(x, y, math.inf)),
    (F.cosine_similarity, lambda f, x, y: f.cosine_similarity(x, y)),
    (lambda x, y: F.cosine_similarity(x, y, axis=0), lambda f, x, y: f.cosine_similarity(x, y, dim=0)),
])
def test_distances_equal_pytorch(ours, theirs):
    torch = pytest.importorskip("torch")
    equal(ours, lambda x, y: theirs(torch.nn.functional, x, y), (X, Y))


# ---------------------------------------------------------------- shapes are strict

COLUMN, ROW = np.zeros((4, 1)), np.zeros(4)

@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss", "kl_div",
                                  "binary_cross_entropy", "binary_cross_entropy_with_logits", "sigmoid_focal_loss",
                                  "dice_loss", "hinge_loss", "soft_margin_loss", "hinge_embedding_loss"])
def test_a_column_against_a_row_is_refused_with_the_reason(name):
    reason = rf"{name}: input has shape \(4, 1\), target \(4,\); they must be equal, for broadcasting"
    with pytest.raises(ValueError, match=reason):
        getattr(F, name)(COLUMN, ROW)

@pytest.mark.parametrize("call, message", [
    (lambda: F.gaussian_nll_loss(COLUMN, ROW, COLUMN), r"input has shape \(4, 1\), target \(4,\)"),
    (lambda: F.gaussian_nll_loss(X, X, ROW), r"got var of shape \(4,\), expected \(6, 5\), \(6, 1\) or \(6,\)"),
    (lambda: F.gaussian_nll_loss(X, X, -VAR), r"got var in \[-.*\], expected \[0, inf\]"),
    (lambda: F.binary_cross_entropy(2 * P, P), r"binary_cross_entropy: got input in \[.*\], expected \[0, 1\]"),
    (lambda: F.binary_cross_entropy(np.nan * P, P), "got input in .nan, nan."),
    (lambda: F.huber_loss(X, Y, delta=0.0), "got delta = 0.0, expected a positive number"),
    (lambda: F.smooth_l1_loss(X, Y, beta=-1.0), "got beta = -1.0, expected 0 or more"),
    (lambda: F.nll_loss(X, IDS + 1), r"nll_loss: targets lie in \[1, 5\], expected \[0, 5\)"),
    (lambda: F.nll_loss(MAPS, IDS), r"got targets of shape \(6,\), expected \(6, 2, 3\)"),
    (lambda: F.nll_loss(X, IDS, weight=ROW), r"nll_loss: weight has shape \(4,\), expected \(5,\)"),
    (lambda: F.focal_loss(X, SOME), r"focal_loss: targets lie in \[-100, 4\]"),
    (lambda: F.margin_ranking_loss(X, X, ROW), r"input1 has shape \(6, 5\), input2 \(6, 5\), target \(4,\)"),
    (lambda: F.contrastive_loss(X, Y, COLUMN), r"got inputs \(6, 5\) and target \(4, 1\), expected \(N, D\) and \(N,\)"),
    (lambda: F.triplet_margin_loss(X, Y, ROW), r"anchor has shape \(6, 5\), positive \(6, 5\), negative \(4,\)"),
    (lambda: F.info_nce_loss(X, Y[:2]), r"query has shape \(6, 5\), key \(2, 5\)"),
    (lambda: F.ctc_loss(SPEECH, WORDS[0], STEPS, LETTERS), r"ctc_loss: got targets \(4,\) and lengths"),
    (lambda: F.ctc_loss(SPEECH, WORDS, STEPS + 1, LETTERS), r"got input_lengths in \[8, 10\], expected \[0, 9\]"),
    (lambda: F.ctc_loss(SPEECH, WORDS, STEPS, LETTERS, blank=5), "got blank = 5, expected one of 5 classes"),
    (lambda: F.kl_div(X, P, reduction="batch"), "reduction: got 'batch'"),
])
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

def test_integer_and_bool_targets_leave_float32_alone():
    x, yes, sign = X.astype("float32"), X > 0, np.sign(X).astype(int)
    p = abs(x) / 10
    for y in (F.hinge_loss(x, sign), F.soft_margin_loss(x, sign), F.margin_ranking_loss(x, x, sign), F.dice_loss(p, yes),
              F.sigmoid_focal_loss(x, yes), F.poisson_nll_loss(x, yes), F.binary_cross_entropy(p, yes)):
        assert y.dtype == np.float32


# ---------------------------------------------------------------- far out, and where a formula would divide by 0

@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_is_finite_at_logits_of_ten_thousand(dtype):
    x = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [-1e4, 0, -1e4]], dtype)
    yes, ids = np.array([[1, 1, 0], [0, 0, 1], [1, 0, 0]], dtype), np.array([1, 0, 1])
    losses = {
        "cross_entropy": lambda x: F.cross_entropy(x, ids), "nll": lambda x: F.nll_loss(F.log_softmax(x), ids),
        "bce": lambda x: F.binary_cross_entropy_with_logits(x, yes),
        "bce of sigmoid": lambda x: F.binary_cross_entropy(F.sigmoid(x), yes), "focal": lambda x: F.focal_loss(x, ids, 0.5),
        "sigmoid focal": lambda x: F.sigmoid_focal_loss(x, yes, gamma=0.5, reduction="mean"),
        "dice": lambda x: F.dice_loss(F.sigmoid(x), yes), "soft margin": lambda x: F.soft_margin_loss(x, 2 * yes - 1),
        "hinge": lambda x: F.hinge_loss(x, 2 * yes - 1), "multi margin": lambda x: F.multi_margin_loss(x, ids, p=2),
        "huber": lambda x: F.huber_loss(x, yes), "kl": lambda x: F.kl_div(F.log_softmax(x), yes),
        "info_nce": lambda x: F.info_nce_loss(x, x[::-1]), "nt_xent": lambda x: F.nt_xent_loss(x, x[::-1]),
        "triplet": lambda x: F.triplet_margin_loss(x, x[::-1], x), "contrastive": lambda x: F.contrastive_loss(x, x[::-1], ids),
        "ctc": lambda x: F.ctc_loss(F.log_softmax(x)[:, None], np.array([[1]]), np.array([3]), np.array([1])),
    }
    for name, loss in losses.items():
        logits = Tensor(x, requires_grad=True)
        y = loss(logits)
        y.backward()
        assert np.isfinite(y.data) and y.dtype == dtype, name
        assert np.isfinite(logits.grad.data).all(), name

def test_probabilities_of_zero_and_one():
    """As PyTorch: no logarithm is below -100."""
    p, t = np.array([0.0, 0, 1, 1]), np.array([0.0, 1, 0, 1])
    np.testing.assert_allclose(F.binary_cross_entropy(p, t, reduction="none"), [0, 100, 100, 0], rtol=1e-12)

def test_a_vector_of_zeros_has_no_direction_and_a_finite_gradient():
    x = Tensor(np.zeros((1, 3)), requires_grad=True)
    y = F.cosine_similarity(x, np.ones((1, 3)))
    y.backward([1.0])
    assert y.item() == 0 and np.isfinite(x.grad.data).all()
    F.contrastive_loss(x, np.zeros((1, 3)), np.array([1])).backward()           # two equal points
    assert np.isfinite(x.grad.data).all()

def test_if_no_sample_counts_the_mean_is_no_number_and_the_sum_is_zero():
    none = np.full(6, -100)
    assert np.isnan(F.nll_loss(X, none)) and F.nll_loss(X, none, reduction="sum") == 0


# ---------------------------------------------------------------- known answers

def test_focal_loss_without_focus_is_cross_entropy():
    np.testing.assert_allclose(F.focal_loss(MAPS, MAP_IDS, gamma=0), F.cross_entropy(MAPS, MAP_IDS), rtol=1e-14)
    np.testing.assert_allclose(F.sigmoid_focal_loss(X, MASK, alpha=-1, gamma=0),
                               F.binary_cross_entropy_with_logits(X, MASK, reduction="none"), rtol=1e-14)

def test_dice_loss_is_0_for_a_perfect_mask_1_for_a_disjoint_one():
    mask = np.array([[1.0, 1, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(F.dice_loss(mask, mask, reduction="none"), [0, 0], atol=1e-15)
    np.testing.assert_allclose(F.dice_loss(mask[:1], 1 - mask[:1]), 1, rtol=1e-8)

def test_beyond_the_margin_nothing_pulls():
    a, b = Tensor(np.array([[0.0, 0], [0, 0]]), requires_grad=True), np.array([[3.0, 4], [0.3, 0.4]])
    F.contrastive_loss(a, b, np.array([-1, -1]), margin=1.0, reduction="sum").backward()
    np.testing.assert_array_equal(a.grad.data[0], 0)
    np.testing.assert_allclose(a.grad.data[1], [0.3, 0.4], rtol=1e-5)           # (margin - d) along the unit vector
    far = np.array([[9.0, 0], [9, 0]])
    assert F.triplet_margin_loss(a, b * 0.1, far) == 0

def test_the_second_derivative_of_a_small_error_is_one():
    """Also at no error at all, where |d| has none."""
    x = Tensor(np.array([0.0, 0.5, 3.0]), requires_grad=True)
    (g,) = tg.grad(F.huber_loss(x, np.zeros(3), "sum"), [x], create_graph=True)
    (h,) = tg.grad(g.sum(), [x])
    np.testing.assert_array_equal(h.data, [1, 1, 0])

def test_info_nce_of_one_pair_is_zero_and_of_equal_points_ln_n():
    assert F.info_nce_loss(X[:1], Y[:1]) == 0
    np.testing.assert_allclose(F.info_nce_loss(X[:1].repeat(7, 0), X[:1].repeat(7, 0)), math.log(7))
    np.testing.assert_allclose(F.nt_xent_loss(X[:1].repeat(7, 0), X[:1].repeat(7, 0)), math.log(13))


# ---------------------------------------------------------------- sequences of labels

def ctc(log_probs, targets, **options):
    targets = np.array([targets], int).reshape(1, -1)
    return F.ctc_loss(log_probs, targets, np.array([len(log_probs)]), np.array([targets.shape[1]]), reduction="none", **options)

def test_ctc_of_few_steps_by_hand():
    p = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]]))[:, None]          # two steps of "-", "a", "b"
    np.testing.assert_allclose(ctc(p, [1]), -math.log(0.5 * 0.6 + 0.3 * 0.1 + 0.3 * 0.6))       # -a, a-, aa
    np.testing.assert_allclose(ctc(p, [1, 2]), -math.log(0.3 * 0.3))
    np.testing.assert_allclose(ctc(p, []), -math.log(0.5 * 0.1))

def test_ctc_of_a_target_that_cannot_be_said():
    """"aa" needs a blank between: three steps. The loss is infinite, the gradient none."""
    p = Tensor(np.log(np.full((2, 1, 3), 1 / 3)), requires_grad=True)
    y = ctc(p, [1, 1])
    y.backward([1.0])
    assert y.item() == np.inf and (p.grad.data == 0).all()
    assert ctc(p, [1, 1], zero_infinity=True).item() == 0
    with np.errstate(divide="ignore"):
        never = np.log(np.array([[[1.0, 0, 0]]] * 3))
    assert ctc(never, [1]).item() == np.inf and ctc(never, []).item() == 0

def test_ctc_gradient_is_what_is_said_less_what_should_be():
    """Of logits: softmax less the share of the right paths that are in each class: each step's sum is 0."""
    x = Tensor(SPEECH, requires_grad=True)
    F.ctc_loss(F.log_softmax(x), WORDS, STEPS, LETTERS, reduction="sum").backward()
    np.testing.assert_allclose(x.grad.data.sum(axis=2), 0, atol=1e-12)
    assert (x.grad.data[8, 1] == 0).all() and (x.grad.data[8, 0] != 0).any()    # step 8 is beyond sequence 1
    gradcheck(lambda x: F.ctc_loss(F.log_softmax(x), WORDS[:2], STEPS[:2], LETTERS[:2]), SPEECH[:, :2])


# ---------------------------------------------------------------- modules

def test_weights_are_buffers_and_losses_print_their_reduction():
    loss = nn.CrossEntropyLoss(weight=WEIGHT, reduction="sum")
    assert [name for name, _ in loss.named_buffers()] == ["weight"] and loss.parameters() == []
    assert repr(loss) == "CrossEntropyLoss(reduction='sum')"


def report():
    """One line for each loss: equal to PyTorch, or to its formula, or what differs."""
    rows, good = [(name, "PyTorch", check_against_pytorch) for name in CASES], 0
    rows += [(name, "formula", check_against_formula) for name in FORMULAS]
    for name, oracle, check in rows:
        try:
            check(name)
            good, says = good + 1, "equal"
        except AssertionError as error:
            says = str(error).strip().splitlines()[0]
        print(f"{name:<36} {oracle:<8} {says}")
    print(f"losses: {good} of {len(rows)} equal")
    return good, len(rows)

@quiet
def test_the_table_says_that_all_are_equal(capsys):
    pytest.importorskip("torch")
    good, all = report()
    assert good == all == len(public_losses())
    with capsys.disabled():
        print(f"\nlosses: {good} of {all} equal", end="")


if __name__ == "__main__":
    report()
