"""The table of operations, continued: the losses, each against NumPy written another way. op_table.py ends with this."""
import itertools
import math

import numpy as np
from hypothesis import strategies as st

import tinygrad_edu as tg
from op_cases import case, classified, equal_shapes, integers, of, positive, reductions, untied
from op_table import F, np_reduce, np_sigmoid, np_softmax, row
from tinygrad_edu.testing.strategies import shapes

unit = (0.1, 0.9)


def also(cases, **options):
    """The same cases with more options, constants or strategies."""
    more = st.fixed_dictionaries({k: v if isinstance(v, st.SearchStrategy) else st.just(v) for k, v in options.items()})
    return st.tuples(cases, more).map(lambda c: (c[0][0], {**c[0][1], **c[1]}))

def signs(shape):
    return integers(0, 2, shape).map(lambda i: 2 * i - 1)

def shaped_case(make, least=0, most=3):
    """A case made from a shape that is not empty."""
    return shapes(least, most, empty=False).flatmap(make)

def whole(shape):
    """Numbers near integers: half-integer margins lie far from all differences."""
    return of(shape).map(lambda x: np.asarray(np.rint(x) + x / 10))


# ---------------------------------------------------------------- distances between numbers, likelihoods

def np_huber(x, t, reduction, delta):
    d = np.abs(x - t)
    inside = np.minimum(d, delta)
    return np_reduce(np.asarray(inside * (d - inside / 2)), reduction)          # one formula for both pieces

def np_gaussian(x, t, var, full, reduction):
    var = var if var.ndim == x.ndim else var[..., None]
    losses = -np.log(np.exp(-(x - t) ** 2 / (2 * var)) / np.sqrt(2 * math.pi * var))
    return np_reduce(losses - (0 if full else math.log(2 * math.pi) / 2), reduction)

def np_poisson(x, t, log_input, full, reduction):
    rate = np.exp(x) if log_input else x
    losses = rate - t * np.log(rate if log_input else rate + 1e-8)
    stirling = np.log(np.sqrt(2 * math.pi * t) * (t / math.e) ** t)
    return np_reduce(losses + np.where((t > 1) & full, stirling, 0), reduction)

def np_kl(x, t, log_target, reduction):
    t = np.exp(t) if log_target else t
    losses = t * np.log(t / np.exp(x))
    return losses.sum() / len(x) if reduction == "batchmean" else np_reduce(losses, reduction)

row("huber_loss", np_huber, also(untied(equal=True), reduction=reductions, delta=st.sampled_from([1.0, 2.0])))
row("smooth_l1_loss", lambda x, t, reduction, beta: np_huber(x, t, reduction, beta) / beta,
    also(untied(equal=True), reduction=reductions, beta=st.sampled_from([1.0, 2.0])))
row("smooth_l1_loss", lambda x, t, beta: np.mean(abs(x - t)), also(untied(equal=True), beta=0.0), label="beta 0")
row("gaussian_nll_loss", np_gaussian, st.tuples(shapes(1, 3, empty=False), st.integers(0, 2)).flatmap(
    lambda s: case(of(s[0]), of(s[0]), of((s[0], s[0][:-1] + (1,), s[0][:-1])[s[1]], positive),
                   full=st.booleans(), reduction=reductions)))
row("poisson_nll_loss", np_poisson, shaped_case(
    lambda s: case(of(s, positive), of(s, positive, away_from=(1,)), log_input=st.booleans(), full=st.booleans(),
                   reduction=reductions)))
row("kl_div", np_kl, shaped_case(lambda s: case(of(s), of(s, positive), log_target=st.booleans(), reduction=reductions)))
row("kl_div", np_kl, shaped_case(lambda s: case(of(s), of(s, positive), log_target=st.booleans(), reduction="batchmean"), 1),
    label="batchmean")


# ---------------------------------------------------------------- classes and masks

def np_weighted_nll(x, targets, reduction):
    """Class k weighs k + 1; class 0 is ignored."""
    losses, weights = np.zeros(targets.shape), np.where(targets == 0, 0, targets + 1)
    for place in np.ndindex(targets.shape):
        losses[place] = -weights[place] * x[(place[0], targets[place], *place[1:])]
    return losses.sum() / weights.sum() if reduction == "mean" else np_reduce(losses, reduction)

def np_bce(p, t):
    return -t * np.log(p) - (1 - t) * np.log(1 - p)

def np_focal(x, targets, gamma, reduction):
    p = np.take_along_axis(np_softmax(x, 1), targets[:, None], 1)[:, 0]
    return np_reduce((1 - p) ** gamma * -np.log(p), reduction)

def np_sigmoid_focal(x, t, alpha, gamma, reduction):
    p = np_sigmoid(x)
    p_t = p * t + (1 - p) * (1 - t)
    return np_reduce((alpha * t + (1 - alpha) * (1 - t)) * (1 - p_t) ** gamma * np_bce(p, t), reduction)

def np_dice(p, t, reduction):
    losses = [1 - (2 * np.sum(a * b) + 1e-8) / (np.sum(a ** 2) + np.sum(b ** 2) + 1e-8) for a, b in zip(p, t)]
    return np_reduce(np.array(losses), reduction)

def np_multi_margin(x, targets, p, margin, reduction):
    losses = [sum(max(0, margin - r[t] + r[k]) ** p for k in range(len(r)) if k != t) / len(r) for r, t in zip(x, targets)]
    return np_reduce(np.array(losses), reduction)

def multi_margins():
    return classified().flatmap(lambda c: case(whole(c[0][0].shape), **c[1], p=st.sampled_from([1, 2]), margin=0.5))

row("nll_loss", np_weighted_nll, classified(positions=True).filter(lambda c: c[1]["targets"].any()),
    lambda x, targets, reduction: F.nll_loss(x, targets, tg.arange(1, x.shape[1] + 1, dtype=x.dtype), 0, reduction),
    label="weighted, one ignored")
row("binary_cross_entropy", lambda p, t, reduction: np_reduce(np_bce(p, t), reduction),
    shaped_case(lambda s: case(of(s, unit), of(s, unit), reduction=reductions)))
row("focal_loss", np_focal, also(classified(positions=True), gamma=st.sampled_from([0, 0.5, 2, 3.5])),
    lambda x, targets, **options: F.focal_loss(x, targets, **options))
row("sigmoid_focal_loss", np_sigmoid_focal, equal_shapes(alpha=0.3, gamma=st.sampled_from([0, 0.5, 2]), reduction=reductions)
    .flatmap(lambda c: case(of(c[0][0].shape), of(c[0][0].shape, unit), **c[1])))
row("dice_loss", np_dice, shaped_case(lambda s: case(of(s, (0.1, 0.4)), of(s, (0.6, 0.9)), reduction=reductions), 1))
row("hinge_loss", lambda x, target, reduction: np_reduce(np.maximum(0, 1 - target * x), reduction),
    shaped_case(lambda s: case(of(s, away_from=(-1, 1)), target=signs(s), reduction=reductions)))
row("soft_margin_loss", lambda x, target: np.mean(np.log(1 + np.exp(-target * x))),
    shaped_case(lambda s: case(of(s), target=signs(s))))
row("multi_margin_loss", np_multi_margin, multi_margins(),
    lambda x, targets, **options: F.multi_margin_loss(x, targets, **options))
row("wasserstein_critic_loss", lambda real, fake: np.mean(fake) - np.mean(real), case(of((3,)), of((2, 2))))
row("wasserstein_generator_loss", lambda fake: -np.mean(fake), case(of((2, 3))))


# ---------------------------------------------------------------- spaces

def np_distance(a, b, p=2.0, keepdims=False):
    return np.linalg.norm(a - b + 1e-6, p, axis=-1, keepdims=keepdims)

def np_cosine(a, b, axis=-1):
    return (a * b).sum(axis) / np.sqrt((a * a).sum(axis) * (b * b).sum(axis))

def np_info_nce(a, b, temperature, symmetric, reduction):
    p = np.array([[math.exp(np_cosine(q, k) / temperature) for k in b] for q in a])
    losses = -np.log(np.diag(p) / p.sum(1))
    return np_reduce((losses - np.log(np.diag(p) / p.sum(0))) / 2 if symmetric else losses, reduction)

def np_nt_xent(a, b, temperature, reduction):
    z, n, losses = np.concatenate([a, b]), len(a), []
    for i, twin in zip(range(2 * n), [*range(n, 2 * n), *range(n)]):
        others = [math.exp(np_cosine(z[i], z[j]) / temperature) for j in range(2 * n) if j != i]
        losses.append(-np_cosine(z[i], z[twin]) / temperature + math.log(sum(others)))
    return np_reduce(np.array(losses), reduction)

@st.composite
def pairs(draw):
    """Points at a distance of 0.5 or 2 from one another, and whether they belong together."""
    n = draw(st.integers(1, 4))
    a, turn = draw(of((n, 2))), draw(of((n,), (0, 6)))
    far = draw(integers(0, 2, (n,)))
    b = a + np.where(far, 2, 0.5)[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)
    return (a, b), dict(target=1 - 2 * far if draw(st.booleans()) else np.ones(n, int), reduction=draw(reductions))

@st.composite
def angles(draw):
    """Pairs with a cosine well above 0 or well below, the first of them friends."""
    n = draw(st.integers(1, 4))
    target = draw(signs((n,)))
    target[0] = 1
    b = draw(of((n, 3), positive))[:, ::-1] * draw(signs((n, 1)))
    return (draw(of((n, 3), positive)), b), dict(target=target, reduction=draw(reductions))

row("pairwise_distance", np_distance, also(untied(equal=True).filter(lambda c: c[0][0].ndim), p=st.sampled_from([1, 2, 3.5]),
                                           keepdims=st.booleans()))
row("cosine_similarity", np_cosine, shapes(0, 1, empty=False).flatmap(
    lambda s: case(of((2,) + s + (3,), positive), of((2,) + s + (3,)), axis=st.sampled_from([0, -1]))))
row("margin_ranking_loss",
    lambda a, b, target, margin, reduction: np_reduce(np.maximum(0, target * (b - a) + margin), reduction),
    shaped_case(lambda s: case(whole(s), whole(s), target=signs(s), margin=0.5, reduction=reductions)))
row("hinge_embedding_loss", lambda x, target: np.mean(np.where(target == 1, x, np.maximum(0, 1 - x))),
    shaped_case(lambda s: case(of(s, away_from=(1,)), target=signs(s))))
row("cosine_embedding_loss", lambda a, b, target, reduction: np_reduce(
    np.where(target == 1, 1 - np_cosine(a, b), np.maximum(0, np_cosine(a, b))), reduction), angles())
row("contrastive_loss", lambda a, b, target, reduction: np_reduce(
    np.where(target == 1, np_distance(a, b) ** 2, np.maximum(0, 1 - np_distance(a, b)) ** 2) / 2, reduction),
    pairs().filter(lambda c: c[1]["target"].max() == 1))
row("triplet_margin_loss", lambda a, p, n, reduction: np_reduce(np_distance(a, p) - np_distance(a, n) + 10, reduction),
    shaped_case(lambda s: case(of(s), of(s, (3, 5)), of(s, (-5, -3)), reduction=reductions), 1),
    lambda a, p, n, reduction: F.triplet_margin_loss(a, p, n, margin=10.0, reduction=reduction))
row("info_nce_loss", np_info_nce, st.integers(1, 4).flatmap(
    lambda n: case(of((n, 3)), of((n, 3)), temperature=0.7, symmetric=st.booleans(), reduction=reductions)))
row("nt_xent_loss", np_nt_xent, st.integers(1, 3).flatmap(
    lambda n: case(of((n, 3)), of((n, 3)), temperature=0.7, reduction=reductions)))


# ---------------------------------------------------------------- sequences of labels

def np_reading(path):
    """What a path of classes says: without repetitions, then without blanks."""
    return [k for k, _ in itertools.groupby(path) if k]

def np_ctc(x, targets, input_lengths, target_lengths, reduction):
    """All paths, one by one."""
    log_p, losses = np.log(np_softmax(x)), []
    for n, (steps, labels) in enumerate(zip(input_lengths, target_lengths)):
        paths = itertools.product(range(x.shape[2]), repeat=int(steps))
        right = [path for path in paths if np_reading(path) == list(targets[n, :labels])]
        losses.append(-np.log(sum(np.exp(sum(log_p[t, n, k] for t, k in enumerate(path))) for path in right)))
    losses = np.array(losses)
    return np.mean(losses / np.maximum(target_lengths, 1)) if reduction == "mean" else np_reduce(losses, reduction)

@st.composite
def spoken(draw):
    """Logits (T, N, C), targets (N, S) and lengths such that every target can be said."""
    n, most = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    labels = draw(integers(0, most + 1, (n,)))
    T, targets = 2 * most + draw(st.integers(0, 1)), draw(integers(1, 3, (n, most)))
    return draw(case(of((T, n, 3)), targets=targets, input_lengths=integers(2 * most - 1, T + 1, (n,)), target_lengths=labels,
                     reduction=reductions))

row("ctc_loss", np_ctc, spoken(), lambda x, **options: F.ctc_loss(F.log_softmax(x), **options))
