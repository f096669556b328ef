"""Lesson 07: Loss functions

Lesson 06 brought the gradient safely down to the first layer. The gradient of what? A network has no wishes of its own: it
becomes whatever makes one number small, and that number is our choice. Choose squared error, and it answers with averages;
choose a wrong one, and it finds that "no" is a fine answer to every question.

You will see what each loss asks for, by its identities rather than by belief: squared error asks for the mean, cross-entropy
for the probabilities, Dice for the overlap, triplets for neighbours, InfoNCE for information. You will also see two of them
fail where a better question succeeds: rare classes, and small things in large pictures.

Papers: Lin et al. 2017, arXiv:1708.02002 (focal); Milletari et al. 2016, arXiv:1606.04797 (Dice); Hadsell et al. 2006
(contrastive); Schroff et al. 2015, arXiv:1503.03832 (triplets); van den Oord et al. 2018, arXiv:1807.03748 (InfoNCE).
"""
# %%
import math

import numpy as np

from tinygrad_edu import Tensor, arange, functional as F, grad, nn, no_grad, optim
from tinygrad_edu.data import batches, load_digits
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import knn_classify
from tinygrad_edu.models.foundations.mlp import MLP
from tinygrad_edu.models.generative.pca import PCA
from tinygrad_edu.testing import gradcheck
from tinygrad_edu.viz import panels, plot_curves, scatter2d, show_grid

lesson = Lesson("07_loss_functions")
rng = np.random.default_rng(lesson.seed)

def largest(x):
    """The largest absolute value, as a number."""
    return abs(x.numpy() if isinstance(x, Tensor) else x).max()

# %% [markdown]
# ## Squared error asks for the mean
#
# Let one input have many right answers y. The answer m with the smallest mean of (y - m)^2 has derivative 0, so
# m = mean(y): the *conditional mean*. |y - m| has derivative 0 when as many y lie above as below: the median. Here four kinds
# of input have different numbers of answers; the table of four answers, trained by gradient descent, is the table of means.

# %%
kinds = np.repeat(np.arange(4), (5, 10, 20, 40))
answers = kinds ** 2 + rng.exponential(1.0, len(kinds))                             # skewed: mean and median differ
design = np.eye(4)[kinds]                                                           # (75, 4), one-hot

table = Tensor(np.zeros(4), requires_grad=True)
for _ in range(400):
    (slope,) = grad(F.mse_loss(Tensor(design) @ table, Tensor(answers)), [table])
    table = Tensor(table.data - 1.5 * slope.data, requires_grad=True)               # 1.5 times the slope: still contracts
least_squares = np.linalg.lstsq(design, answers)[0]
lesson.claim("MSE: minimiser against least squares", largest(table.detach().numpy() - least_squares), "<=", 1e-8, row="B01",
             kind="E")

def error_of(answer, loss):
    return loss(Tensor(answer[kinds]), Tensor(answers)).item()

medians = np.array([np.median(answers[kinds == k]) for k in range(4)])
lesson.claim("absolute error: at the medians, over at the means",
             error_of(medians, F.l1_loss) / error_of(least_squares, F.l1_loss), "<=", 1.0, row="B01", kind="E")

# A trap that has eaten many afternoons: predictions (n, 1) against targets (n,). NumPy compares each with each, n x n of them;
# the loss of *perfect* predictions is then twice the variance, and the best answer is one constant for all. We refuse.

# %%
column = answers[:, None]
trap = ((column - answers) ** 2).mean() / answers.var()
try:
    F.mse_loss(Tensor(column), Tensor(answers))
    refused = 0
except ValueError as error:
    refused = 1
    print(f"  {error}")
lesson.claim("(n, 1) against (n,) is refused", refused, "==", 1, row="B01", kind="E")
lesson.claim("unrefused: loss of perfect predictions, in variances", trap, "in", (2 - 1e-9, 2 + 1e-9), row="B01", kind="E",
             oracle=2.0)

# %% [markdown]
# ## Likelihood: the answer that is least surprised
#
# A model that answers with probabilities q is charged -ln q(what happened): its surprise. On average over the truth p that is
#
#     CE(p, q) = -sum p ln q  =  H(p) + KL(p || q),
#
# the truth's own entropy, which nobody can avoid, plus what q wastes, which is never negative and 0 only for q = p. So the
# smallest cross-entropy is the smallest KL is the largest likelihood: three names for one question. Squared error belongs to
# the family: it is the surprise of a Gaussian whose width is fixed.

# %%
p, q = (rng.dirichlet(np.ones(10), size=1000) for _ in range(2))
log_q = Tensor(np.log(q))
cross_entropy = -(p * np.log(q)).sum(axis=1)
entropy = -(p * np.log(p)).sum(axis=1)
kl = F.kl_div(log_q, Tensor(p), reduction="none").sum(axis=1).numpy()
lesson.claim("CE - H - KL", largest(cross_entropy - entropy - kl), "<=", 1e-10, row="B04", kind="E")
lesson.claim("the smallest KL of 1000 pairs", kl.min(), ">=", 0, row="B04", kind="E")
lesson.claim("cross_entropy(logits, p) against -sum p ln q",
             largest(F.cross_entropy(log_q, Tensor(p), reduction="none").numpy() - cross_entropy), "<=", 1e-10, row="B04",
             kind="E")

m1, s1, m2, s2 = 0.5, 0.8, -0.3, 1.5                                                # KL of two Gaussians, and by drawing
closed = math.log(s2 / s1) + (s1 ** 2 + (m1 - m2) ** 2) / (2 * s2 ** 2) - 0.5
draws = Tensor(m1 + s1 * rng.standard_normal(100_000))
by_q, by_p = (F.gaussian_nll_loss(0 * draws + m, draws, 0 * draws + s * s, reduction="none") for m, s in ((m2, s2), (m1, s1)))
wasted = (by_q - by_p).numpy()
error = wasted.std() / math.sqrt(len(wasted))
lesson.claim("KL of two Gaussians: draws against formula, in SE", abs(wasted.mean() - closed) / error, "<=", 3.0, row="B04",
             kind="E")

# %% [markdown]
# ## Classes: softmax cross-entropy
#
# Its gradient is the most pleasant one in this trade: p - y, what is answered less what is right. Compare a squared error on
# probabilities: its gradient carries the slope of the sigmoid, which is almost 0 where the network is *confidently wrong*. The
# worse the answer, the less it learns (left two panels of the figure).
#
# A network that knows nothing yet should be as surprised as a die with ten faces: ln 10. If the first loss you print is
# far from ln K, look for a mistake before you train.

# %%
images, labels = load_digits("train")
test_images, test_labels = load_digits("test")
images, test_images = images.reshape(-1, 64), test_images.reshape(-1, 64)

logits = Tensor(rng.standard_normal((50, 10)) * 3, requires_grad=True)
(slope,) = grad(F.cross_entropy(logits, labels[:50], reduction="sum"), [logits])
by_hand = F.softmax(logits).detach().numpy() - np.eye(10)[labels[:50]]
lesson.claim("cross-entropy: gradient against p - y", largest(slope.numpy() - by_hand), "<=", 1e-12, row="B02", kind="E")
first = F.cross_entropy(MLP(64, 64, 10)(Tensor(images)), labels).item()
lesson.claim("a fresh network's loss over ln 10", first / math.log(10), "in", (0.95, 1.05), row="B02", kind="E", oracle=1.0)

wrong = Tensor(np.array([-10.0]), requires_grad=True)                               # the right answer is 1
(entropy_slope,) = grad(F.binary_cross_entropy_with_logits(wrong, Tensor(np.ones(1))), [wrong])
(square_slope,) = grad(F.mse_loss(F.sigmoid(wrong), Tensor(np.ones(1))), [wrong])
lesson.claim("gradient at a confident mistake: squared over CE", square_slope.item() / entropy_slope.item(), "<=", 1e-3,
             row="B02", kind="E")

# %% [markdown]
# ## Yes or no: binary cross-entropy
#
# -ln of the Bernoulli likelihood s^t (1 - s)^(1 - t), s = sigmoid(x). Written like that it is ln 0 for a logit of 1e4. If the
# large part is taken out of the logarithm first, max(x, 0) - x t + ln(1 + e^-|x|), it is exact everywhere. The losses of the
# library are finite at logits of ten thousand, with finite gradients; a training run that meets such a batch survives it.

# %%
x, bits = rng.standard_normal(200), rng.integers(0, 2, 200).astype(float)
s = 1 / (1 + np.exp(-x))
likelihood = s ** bits * (1 - s) ** (1 - bits)
bce = F.binary_cross_entropy_with_logits(Tensor(x), Tensor(bits), reduction="none").numpy()
lesson.claim("BCE against -ln of the Bernoulli likelihood", largest(bce + np.log(likelihood)), "<=", 1e-12, row="B03", kind="E")

FAR = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [-1e4, 0, -1e4]], "float32")
yes, classes = Tensor(np.eye(3, dtype="float32")), np.array([1, 0, 1])
stable = {
    "cross-entropy": lambda x: F.cross_entropy(x, classes), "BCE": lambda x: F.binary_cross_entropy_with_logits(x, yes),
    "NLL": lambda x: F.nll_loss(F.log_softmax(x), classes), "KL": lambda x: F.kl_div(F.log_softmax(x), yes),
    "focal": lambda x: F.focal_loss(x, classes), "sigmoid focal": lambda x: F.sigmoid_focal_loss(x, yes, reduction="mean"),
    "Dice": lambda x: F.dice_loss(F.sigmoid(x), yes), "hinge": lambda x: F.hinge_loss(x, 2 * yes - 1),
    "Huber": lambda x: F.huber_loss(x, yes), "triplet": lambda x: F.triplet_margin_loss(x, x[1:2] * yes, x),
    "InfoNCE": lambda x: F.info_nce_loss(x, yes), "NT-Xent": lambda x: F.nt_xent_loss(x, yes),
}
survivors = 0
for name, loss in stable.items():
    logits = Tensor(FAR, requires_grad=True)
    value = loss(logits)
    survivors += bool(np.isfinite(value.item()) and np.isfinite(grad(value, [logits])[0].numpy()).all())
with np.errstate(all="ignore"):
    naive = -np.log(np.exp(FAR) / np.exp(FAR).sum(axis=1, keepdims=True))[np.arange(3), classes]
lesson.claim("losses finite at +-1e4, with their gradients", survivors, "==", len(stable), row="B02", kind="E")
lesson.claim("BCE at logits -1e4, 1e4, answers right", largest(F.binary_cross_entropy_with_logits(
    Tensor(np.array([-1e4, 1e4])), Tensor(np.array([0.0, 1.0])))), "==", 0, row="B03", kind="E")
lesson.claim("the textbook formula there: finite losses of 3", np.isfinite(naive).sum(), "<", 3, row="B02", kind="E")

# %% [markdown]
# ## One in a hundred: the focal loss
#
# A hundred "no" for each "yes", and the clouds overlap. Cross-entropy asks for honest probabilities, and honestly almost every
# point is probably a "no": most of the "yes" are missed. The focal loss multiplies by (1 - p)^gamma, p the probability of
# the right answer, so that what is known already hardly counts; and by alpha for "yes", 1 - alpha for "no".
#
# Which of the two helps? We train all four combinations, and the answer is sobering. Trained to the end, gamma alone changes
# next to nothing: where cross-entropy's best answer is 1/2, so is the focal loss's, and the border stays where it was. It is
# alpha that moves it, and what it buys in recall it pays in precision. gamma's own gift is in the way there: the
# thousands of easy points hardly pull, so the hard ones are heard sooner. (Look after 60 steps instead of 400.)

# %%
scores = Tensor(rng.standard_normal((100, 10)))
difference = F.focal_loss(scores, labels[:100], gamma=0).item() - F.cross_entropy(scores, labels[:100]).item()
lesson.claim("focal loss with gamma 0 less cross-entropy", abs(difference), "<=", 1e-12, row="B05", kind="E")

def clouds(n):
    """n points, one in 101 of the rare kind, and 1 where they are."""
    rare = n // 101
    common = rng.standard_normal((n - rare, 2)) + np.array([-2.0, 0.0])
    points = np.concatenate([common, 0.7 * rng.standard_normal((rare, 2)) + np.array([0.7, 0.0])])
    return points.astype("float32"), (np.arange(n) >= n - rare).astype("float32")

points, is_rare = clouds(10_100)
test_points, test_rare = clouds(40_400)

def find(gamma, alpha):
    """Train a small network with this loss: (share of the rare that it finds, share of its finds that are rare)."""
    model, steps = MLP(2, 16, 1), lesson.pick(400, 10)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    for _ in lesson.progress(range(steps), f"gamma {gamma}, alpha {alpha}"):
        chosen = rng.integers(0, len(points), 512)
        logits = model(Tensor(points[chosen]))[:, 0]
        loss = F.sigmoid_focal_loss(logits, Tensor(is_rare[chosen]), alpha, gamma, reduction="mean")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with no_grad():
        found = model(Tensor(test_points)).numpy()[:, 0] > 0
    return found[test_rare > 0].mean(), test_rare[found].mean() if found.any() else 0.0

print("  gamma  alpha   recall  precision")
results = {}
for gamma, alpha in ((0, 0.5), (2, 0.5), (0, 0.9), (2, 0.9)):                       # alpha 0.5 weighs both alike
    results[gamma, alpha] = find(gamma, alpha)
    print(f"  {gamma:<6} {alpha:<6} {results[gamma, alpha][0]:7.2f} {results[gamma, alpha][1]:9.2f}")
recall = {key: 100 * value[0] for key, value in results.items()}
lesson.claim("1:100: points of recall that focal adds to CE", recall[2, 0.9] - recall[0, 0.5], ">=", 10, row="B05", kind="C",
             baseline=recall[0, 0.5])

# %% [markdown]
# ## Two per cent of the picture: Dice
#
# Small bright discs in noise; the question is which pixels are disc. 98 % are not, so "nothing anywhere" is a good answer to
# binary cross-entropy: 0.1 nats a pixel, and slow to leave. Even later it claims a pixel only if disc is likelier than not,
# and where there is much noise, hardly a pixel is. The Dice loss, 1 - 2 sum(p t) / (sum p^2 + sum t^2), does not count the
# pixels that both call empty; "nothing anywhere" is the *worst* answer to it, and a doubtful pixel is worth a try.

# %%
mask = Tensor(np.array([[1.0, 1, 0, 0]]))
lesson.claim("Dice loss of a perfect mask", F.dice_loss(mask, mask), "<=", 1e-12, row="B06", kind="E", oracle=0.0)
lesson.claim("Dice loss of a disjoint mask", F.dice_loss(mask, 1 - mask), "in", (1 - 1e-8, 1), row="B06", kind="E", oracle=1.0)

def discs(n, size=24):
    """Pictures (n, 1, size, size) with a noisy disc on about 2 % of them, and masks of the same shape."""
    rows, columns = np.mgrid[:size, :size]
    centre, radius = rng.uniform(3, size - 3, (2, n, 1, 1)), rng.uniform(1.2, 2.6, (n, 1, 1))
    inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius ** 2
    return (inside + 0.8 * rng.standard_normal(inside.shape))[:, None].astype("float32"), inside[:, None].astype("float32")

pictures, masks = discs(256)
test_pictures, test_masks = discs(256)

def segment(loss_of):
    """Train a small convolutional network: its masks of the test pictures, bools, and their IoU with the truth."""
    model, steps = nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 5, padding=2), nn.ReLU(),
                                 nn.Conv2d(8, 1, 1)), lesson.pick(200, 2)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    for _ in lesson.progress(range(steps), "segmentation"):
        chosen = rng.integers(0, len(pictures), 32)
        loss = loss_of(model(Tensor(pictures[chosen])), Tensor(masks[chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with no_grad():
        found = model(Tensor(test_pictures)).numpy() > 0
    return found, (found & (test_masks > 0)).sum() / (found | (test_masks > 0)).sum()

by_bce, bce_iou = segment(F.binary_cross_entropy_with_logits)
by_dice, dice_iou = segment(lambda logits, t: F.dice_loss(F.sigmoid(logits), t))
lesson.claim("2 % foreground: points of IoU that Dice adds to BCE", 100 * (dice_iou - bce_iou), ">=", 5, row="B06", kind="C",
             baseline=100 * bce_iou)

# %% [markdown]
# ## Not what, but how near: contrastive and triplet losses
#
# Sometimes the answer is a place. The contrastive loss ties friends together by a spring, d^2 / 2, and pushes strangers apart,
# (margin - d)^2 / 2, but only up to the margin: past it, strangers feel *exactly* nothing, so a finished pair stops costing.

# %%
here, there = rng.standard_normal((2, 200, 4))
stranger = Tensor(-np.ones(200))
distance = F.pairwise_distance(here, there)
mine = Tensor(here, requires_grad=True)
(pull,) = grad(F.contrastive_loss(mine, Tensor(there), stranger, margin=2.0, reduction="sum"), [mine])
pull = abs(pull.numpy()).max(axis=1)
lesson.claim("contrastive: gradient of strangers past the margin", pull[distance > 2.0].max(), "==", 0, row="B07", kind="E")
lesson.claim("contrastive: smallest gradient of the nearer ones", pull[distance < 2.0].min(), ">", 0, row="B07", kind="E")
off_kink = abs(distance - 2.0) > 0.05
report = gradcheck(lambda a, b: F.contrastive_loss(a, b, stranger[off_kink], margin=2.0), here[off_kink], there[off_kink])
lesson.claim("contrastive: gradcheck away from the kink", report.error, "<=", 1e-6, row="B07", kind="E")

# %% [markdown]
# The triplet loss only compares: d(anchor, friend) + margin <= d(anchor, stranger). Most triplets are soon satisfied and teach
# nothing, so we take, in each batch, any friend and the *nearest* stranger. (Taking the farthest friend as well sounds better
# and often collapses in two dimensions: all digits in one point, where every triplet costs just the margin.)
#
# How good is the space? Ask the nearest neighbour. PCA, which sees no labels, is the baseline of equal size.

# %%
def embed(dimensions):
    """An embedding (N, 64) -> (N, dimensions) of digits, trained on triplets."""
    model, steps, lr = MLP(64, 128, dimensions), lesson.pick(400, 10), 2e-3
    optimizer = optim.Adam(model.parameters(), lr=lr)
    members = [np.flatnonzero(labels == k) for k in range(10)]
    for step in lesson.progress(range(steps), f"triplets in {dimensions} dimensions"):
        optimizer.param_groups[0]["lr"] = lr * min(1, 2 * (1 - step / steps))
        chosen = np.concatenate([rng.choice(of_k, 12, replace=False) for of_k in members])
        z, same = model(Tensor(images[chosen])), labels[chosen][:, None] == labels[chosen]
        places = z.detach().numpy()
        apart = ((places[:, None] - places) ** 2).sum(axis=2)                       # (120, 120) squared distances
        friend = np.where(same & ~np.eye(120, dtype=bool), rng.random(same.shape), -1).argmax(axis=1)
        stranger = np.where(same, np.inf, apart).argmin(axis=1)

        loss = F.triplet_margin_loss(z, z[friend], z[stranger])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model

def neighbours(encode):
    """(accuracy of the nearest neighbour in the space of `encode`, the test digits in it)"""
    with no_grad():
        train, test = encode(Tensor(images)).numpy(), encode(Tensor(test_images)).numpy()
    return (knn_classify(train, labels, test) == test_labels).mean(), test

spaces = {}
for dimensions, published in ((2, 0.594), (8, 0.942)):
    pca_accuracy, pca_places = neighbours(PCA(dimensions).fit(images).encode)
    accuracy, places = neighbours(embed(dimensions))
    spaces[dimensions] = pca_accuracy, pca_places, accuracy, places
    lesson.claim(f"digits, 1-NN accuracy in {dimensions} dimensions", accuracy, ">=", max(published, pca_accuracy), row="B08",
                 kind="C", baseline=pca_accuracy)

# %% [markdown]
# ## Find your partner: InfoNCE
#
# N pairs (x_i, y_i), all mixed up. Score every x with every y, and ask by cross-entropy: which y belongs to x_i? Who has no
# idea loses ln N. Who does better must know something about y from x, and indeed
#
#     ln N - loss  <=  I(X; Y),        and of course        ln N - loss <= ln N.
#
# Two correlated Gaussians in d dimensions share exactly I = -d/2 ln(1 - rho^2) nats, so we can watch the bound work, with the
# best scores there are, ln p(y|x) - ln p(y), and with scores that a network has learned. See it saturate: from a batch
# of 128 nobody can prove more than ln 128 = 4.85 nats.

# %%
D, N = 4, 128

def related(information, n=N):
    """n pairs with so many nats in common: x and y (n, D), and rho."""
    rho = math.sqrt(1 - math.exp(-2 * information / D))
    x, noise = rng.standard_normal((2, n, D))
    return x.astype("float32"), (rho * x + math.sqrt(1 - rho * rho) * noise).astype("float32"), rho

def best_scores(x, y, rho):
    """ln p(y|x) - ln p(y) of every x with every y, but for a constant: (N, N)."""
    return -((y - rho * x[:, None]) ** 2).sum(axis=2) / (2 * (1 - rho * rho)) + (y ** 2).sum(axis=1) / 2

def nats(scores):
    return math.log(N) - F.cross_entropy(Tensor(scores) if isinstance(scores, np.ndarray) else scores, arange(N)).item()

x, y, _ = related(2.0)
fresh_x, fresh_y = MLP(D, 64, 16), MLP(D, 64, 16)
at_first = F.info_nce_loss(fresh_x(Tensor(x)), fresh_y(Tensor(y)), temperature=1.0).item()
lesson.claim("InfoNCE at the start over ln N", at_first / math.log(N), "in", (0.95, 1.05), row="B09", kind="O", oracle=1.0)

truths = np.array([0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0])
estimates = np.array([[nats(best_scores(*related(truth))) for _ in range(lesson.pick(60, 5))] for truth in truths])
excess = (estimates.mean(axis=1) - truths) / (estimates.std(axis=1) / math.sqrt(estimates.shape[1]))
lesson.claim("InfoNCE, best scores: most above the truth, in SE", excess.max(), "<=", 3.0, row="B09", kind="O")
lesson.claim("InfoNCE, best scores: largest of all, over ln N", estimates.max() / math.log(N), "<=", 1.0, row="B09", kind="E")

optimizer = optim.Adam(fresh_x.parameters() + fresh_y.parameters(), lr=3e-3)
for _ in lesson.progress(range(lesson.pick(500, 20)), "InfoNCE"):
    x, y, _ = related(2.0)
    loss = F.cross_entropy(fresh_x(Tensor(x)) @ fresh_y(Tensor(y)).T, arange(N))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
learned = []
for _ in range(50):
    x, y, _ = related(2.0)
    with no_grad():
        learned.append(nats(fresh_x(Tensor(x)) @ fresh_y(Tensor(y)).T))
lesson.claim("InfoNCE, learned scores: nats of the 2 that are there", np.mean(learned), "in", (1.5, 2.0), row="B09", kind="O",
             baseline=0.0, oracle=2.0)

# %%
if lesson.draws:
    figure, axes = panels(2, 3, size=(13.5, 8))
    z = np.linspace(-5, 5, 201)
    right = Tensor(np.ones(201))
    curves = {
        "cross-entropy": lambda x: F.binary_cross_entropy_with_logits(x, right, reduction="none"),
        "focal, gamma 2": lambda x: F.sigmoid_focal_loss(x, right, alpha=-1),
        "hinge": lambda x: F.hinge_loss(x, right, reduction="none"),
        "squared error of sigmoid": lambda x: F.mse_loss(F.sigmoid(x), right, reduction="none"),
    }
    values, slopes = {}, {}
    for name, loss in curves.items():
        logits = Tensor(z, requires_grad=True)
        losses = loss(logits)
        values[name], slopes[name] = (z, losses), (z, grad(losses.sum(), [logits])[0])
    plot_curves(values, "logit of the right answer", "loss", title="What a mistake costs", axes=axes[0, 0])
    plot_curves(slopes, "logit of the right answer", "d loss / d logit", title="What it teaches", axes=axes[0, 1])
    axes[0, 1].legend().remove()

    plot_curves({"InfoNCE, best scores": (truths, estimates.mean(axis=1)), "the truth": (truths, truths),
                 "ln 128": (truths, np.full(len(truths), math.log(N)))},
                "mutual information, nats", "nats", title="A bound that saturates", axes=axes[0, 2])
    axes[0, 2].plot([2.0], [np.mean(learned)], "o", color="black", label="learned scores")
    axes[0, 2].legend(frameon=False, fontsize=9)

    show = np.arange(5)
    rows = {"picture": test_pictures[show], "truth": 2 * test_masks[show] - 0.5, "BCE": 2.0 * by_bce[show] - 0.5,
            "Dice": 2.0 * by_dice[show] - 0.5}
    show_grid(rows, limits=(-0.5, 1.5), title="Two per cent of the picture", axes=axes[1, 0])
    scatter2d(spaces[2][1], test_labels, title=f"PCA, 1-NN {spaces[2][0]:.2f}", axes=axes[1, 1])
    scatter2d(spaces[2][3], test_labels, title=f"triplets, 1-NN {spaces[2][2]:.2f}", axes=axes[1, 2])
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Give one of the four kinds an answer of 1000. Which table of answers moves, the means or the medians? What does
#   F.huber_loss do?
# - Sweep the threshold of the cross-entropy network on the 1:100 clouds instead of changing the loss. How much of the focal
#   loss's gain was only a threshold? Do the same for BCE against Dice.
# - Take the farthest friend in each triplet, and watch the loss settle at the margin.
# - Double N. By how much does the InfoNCE bound at 8 nats rise?
