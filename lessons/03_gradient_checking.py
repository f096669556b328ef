"""Lesson 03: Gradient checking, how to know that a derivative is right

A wrong backward does not crash. The loss still goes down, only more slowly, and to a worse place; people have trained
networks for weeks on a derivative with a missing term. So every backward of this library has to be checked by somebody
who has not seen its formula. Who could that be?

The function itself. Move the input a little and watch the output: that is what a derivative is. You will see how little
"a little" has to be, why single precision is no place to ask, how one random question checks a million numbers at once,
and which questions a bug can answer correctly. Then the checker is checked: some ninety mistakes, of the kind that
people make, are planted in the library one after the other, and it has to find them.

Papers: Squire & Trapp 1998 (complex step); Claessen & Hughes 2000 (random questions); DeMillo et al. 1978 (planted
mistakes).
"""
# %%
from collections import Counter

import numpy as np

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F, grad
from tinygrad_edu.bughunt.mutants import CHECKS, MUTANTS, caught_by, planted
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.testing import GradientError, adjoint_test, gradcheck, numerical_gradient
from tinygrad_edu.viz import colors, panels

lesson = Lesson("03_gradient_checking")
tg.set_default_device("cpu")                                # differences are the host's work, whatever --device says
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## How little is a little?
#
# Walk from x in some direction v and look at one number phi on the way. Three ways to ask for its slope at t = 0, and
# what Taylor's series says they answer:
#
#     forward      (phi(h) - phi(0)) / h                   phi' + h phi'' / 2
#     central      (phi(h) - phi(-h)) / 2h                 phi' + h^2 phi''' / 6
#     Richardson   (4 central(h/2) - central(h)) / 3       phi' - h^4 phi''''' / 480
#
# A small h makes the error small. But then phi(h) and phi(-h) agree in nearly all their digits, the subtraction cancels
# these, and what remains is rounding: about 1e-16 phi, divided by h. Small steps are as bad as large ones, the error
# over h is a V, and for central differences its lowest point is near h = (2e-16)^(1/3) = 6e-6.
#
# A fourth way needs no subtraction: step into the complex plane. phi(ih) = phi + ih phi' - h^2 phi'' / 2 - .., so the
# imaginary part over h is the slope, and h may be 1e-30. It asks for a formula that is analytic: |x| and max(x, 0) are
# not.

# %%
STEPS = np.logspace(0, -13, 53)
RULES = ("forward", "central", "Richardson", "complex step")

def differences(phi, h):
    """phi'(0) by the four rules."""
    central, halved = (phi(h) - phi(-h)) / (2 * h), (phi(h / 2) - phi(-h / 2)) / h
    return (phi(h) - phi(0.0)) / h, central, (4 * halved - central) / 3, phi(1j * h).imag / h

def derivatives(phi, order):
    """phi', phi'', .. at 0 from the engine: the gradient of the gradient of the gradient (lesson 04)."""
    t = Tensor(np.zeros(()), requires_grad=True)
    y, found = phi(t), []
    for _ in range(order):
        (y,) = grad(y, t, create_graph=True)
        found.append(y.item())
    return found

def random_path():
    """phi(t) = <u, f(x + t v)> with a random network f, (5, 8) -> (5, 4); as a function of the dtype to compute in."""
    arrays = [rng.standard_normal(shape) for shape in ((5, 8), (5, 8), (8, 16), (16, 4), (5, 4))]

    def path(dtype):
        x, v, w1, w2, u = (a.astype(dtype) for a in arrays)
        return lambda t: (u * tg.tanh(tg.sin((x + t * v) @ w1 / 4) @ w2 / 4)).sum()
    return path

def v_curves(dtype):
    """Median error of each rule at each step, (steps, rules), in units of the median |phi'|."""
    errors = [[abs(np.array(differences(path(dtype), float(h))) - true[0]) for h in STEPS]
              for path, true in zip(paths, slopes)]
    return np.median(errors, axis=0) / taylor[0]

paths = [random_path() for _ in range(lesson.pick(100, fast=40))]
slopes = [derivatives(path(np.float64), 5) for path in paths]
taylor = np.median(np.abs(slopes), axis=0)                  # |phi'|, |phi''|, .. |phi'''''|
double, single = v_curves(np.float64), v_curves(np.float32)

print(f"  {'smallest error and its step':30}" + "".join(f"{rule:>22}" for rule in RULES))
for name, errors in (("float64", double), ("float32", single)):
    cells = (f"{errors[i, r]:.0e} at h = {STEPS[i]:.0e}" for r, i in enumerate(errors.argmin(axis=0)))
    print(f"  {name:30}" + "".join(f"{cell:>22}" for cell in cells))

forward, central, richardson, complex_step = double.T
eps = np.finfo(np.float64).eps
lesson.claim("float64, central: the best step", STEPS[central.argmin()], "in", (6e-7, 6e-5), row="A05", kind="E",
             oracle=eps ** (1 / 3))
for rule, errors, order in (("forward", forward, 1), ("central", central, 2), ("Richardson", richardson, 4)):
    right = (STEPS > 3e-3) & (STEPS < 0.1) & (errors > 1e-11)   # the right side of the V: truncation, no rounding
    slope = np.polyfit(np.log(STEPS[right]), np.log(errors[right]), 1)[0]
    lesson.claim(f"float64, {rule}: error ~ h to the power of", slope, "in", (order - 0.15, order + 0.15), row="A05",
                 kind="E", oracle=order)
lesson.claim("float64, complex step: error at h = 1e-13", complex_step[-1], "<=", 1e-14, row="A05", kind="E",
             baseline=central[-1])

# %% [markdown]
# ## Why single precision is refused
#
# float32 rounds at 6e-8 instead of 1e-16, so its V has its lowest point near (6e-8)^(2/3) = 2e-5, at the best of steps,
# and a hundred times higher at a poor one. A checker in float32 must be told to overlook that much, and overlooks every
# mistake of that size with it. So `gradcheck` takes float64 only: the formulas under test are the same, only the digits
# differ.

# %%
tolerance = 1e-6                                            # gradcheck's own, for float64
lesson.claim("float32, central: smallest error of any step", single[:, 1].min(), ">", tolerance, row="A05", kind="E",
             baseline=central.min())
try:
    gradcheck(tg.tanh, rng.standard_normal(5).astype(np.float32))
    refused = False
except TypeError as error:
    refused = True
    print(f"  {error}")
lesson.claim("gradcheck refuses float32", refused, "==", True, row="A05", kind="S")

# %% [markdown]
# ## Many inputs: one random direction
#
# Element by element, n inputs cost 2n evaluations, and the network of lesson 01 has 19,210. One random direction v
# costs two. If the gradient is wrong by d, the check sees <d, v>, a normal number with standard deviation |d|: the
# chance that it hides below a millionth of that is one in a million. Only after a failure do we go through the
# elements, to find the one to blame.
#
# ## Many outputs: a random question, never ones
#
# A function with many outputs needs a cotangent u, which says how much of each output to look at: backward computes
# J'u. The convenient choice is `y.sum().backward()`, that is u = 1. Here is a mistake that it can never find. The
# backward of batch normalization (lesson 11), for the normalized y = (x - mean) / std and g = dL/dy, is
#
#     gx = (g - mean(g) - y mean(g y)) / std
#
# Plant a bug: forget the last term. For g = 1 that term is y mean(y), and mean(y) = 0 for every x: y has been
# normalized. The bug gives the right answer to this question, and to hardly any other. (The right answer is 0, which
# might have warned us.)

# %%
x = rng.standard_normal((8, 3))

def disagreement(f, u):
    """max |backward - differences| at x for the cotangent u."""
    leaf = Tensor(x, requires_grad=True)
    (g,) = grad(f(leaf), leaf, Tensor(u))
    return np.max(abs(g.numpy() - numerical_gradient(f, x, cotangents=[u])))

def objection(check):
    """What the checker objects to, or "" if it is satisfied."""
    try:
        check()
        return ""
    except GradientError as error:
        print(f"  {error}")
        return str(error)

with planted(MUTANTS["batch_norm_forgets_the_variance"]):
    with_ones = disagreement(F.batch_norm, np.ones((8, 3)))
    with_random = disagreement(F.batch_norm, rng.standard_normal((8, 3)))
    text = objection(lambda: gradcheck(F.batch_norm, x))
lesson.claim("forgetful batch norm, u = ones: disagreement", with_ones, "<=", 1e-8, row="A05", kind="E")
lesson.claim("forgetful batch norm, u random: disagreement", with_random, ">=", 1e-2, row="A05", kind="E",
             baseline=with_ones)
lesson.claim("forgetful batch norm: gradcheck objects", "backward gives" in text, "==", True, row="A05", kind="E")
lesson.claim("batch norm as it is: gradcheck's relative error", gradcheck(F.batch_norm, x).error, "<=", 1e-6, row="A05",
             kind="E", baseline=with_random)

# %% [markdown]
# ## A second witness, without differences
#
# A linear function F and its backward F' are each other's adjoint: <u, F v> = <F'u, v> for all u and v. Both sides are
# computed as they stand, nothing is subtracted, so they agree to 1e-15. Convolution is linear in its image. Plant a bug
# there, too: where windows overlap, let the last one win (= instead of +=).
#
# A function that is not linear still has a linear backward: u -> J'u, at a fixed x. So the gradient of <J'u, v> with
# respect to *u* is J v, the slopes in the direction v, without any step size. Differentiate twice, and the dot test
# serves every function.

# %%
w = rng.standard_normal((4, 3, 3, 3))
shapes = (2, 3, 6, 6), (2, 4, 4, 4)

def backward_of_conv(u):
    leaf = Tensor(np.zeros(shapes[0]), requires_grad=True)
    return grad(F.conv2d(leaf, w), leaf, Tensor(u))[0].numpy()

def dot_test_of_conv():
    return adjoint_test(lambda v: F.conv2d(v, w), backward_of_conv, *shapes)

lesson.claim("conv2d: <u, F v> - <F'u, v>, relative", dot_test_of_conv().error, "<=", 1e-12, row="A05", kind="E")
with planted(MUTANTS["conv2d_loses_overlaps"]):
    text = objection(dot_test_of_conv)
lesson.claim("conv2d that loses overlaps: the dot test objects", "<F'u, v>" in text, "==", True, row="A05", kind="E")

leaf, weight = Tensor(x, requires_grad=True), Tensor(rng.standard_normal((3, 5)))

def vjp(u, create_graph=False):
    """J'u for y = tanh(x) weight, (8, 3) -> (8, 5)."""
    return grad(tg.tanh(leaf) @ weight, leaf, u, create_graph=create_graph)[0]

def jvp(v):
    """J v: the gradient of <J'u, v> with respect to u, the same at every u."""
    u = Tensor(np.zeros((8, 5)), requires_grad=True)
    return grad((vjp(u, create_graph=True) * v).sum(), u)[0]

error = adjoint_test(lambda v: jvp(Tensor(v)).numpy(), lambda u: vjp(Tensor(u)).numpy(), (8, 3), (8, 5)).error
lesson.claim("tanh(x) w: <u, J v> - <J'u, v>, relative", error, "<=", 1e-12, row="A05", kind="E")

# %% [markdown]
# ## Where there is no derivative
#
# relu has a kink at 0: its slope is 1 to the right, 0 to the left, and a backward has to choose one. A central
# difference straddles the kink, finds 1/2, and calls a right backward wrong. The one-sided differences tell what is
# going on: elsewhere they meet as h shrinks, at a kink they do not. Plant a kink at a random place of a random array,
# 20 times, and look for it.

# %%
def one_sided(f, x, place, h=1e-6):
    """The slopes of f, elementwise, to the right and to the left of x[place]."""
    step = np.zeros_like(x)
    step[place] = h
    return ((f(x + step) - f(x)) / h)[place], ((f(x) - f(x - step)) / h)[place]

BENT = (tg.relu, tg.absolute, lambda x: tg.clip(x, 0.0, 9.0), lambda x: tg.maximum(x, -2 * x))
by_hand = by_gradcheck = 0
for f in 5 * BENT:
    z = rng.standard_normal((3, 4))
    z += np.sign(z) / 100                                   # nothing else lies near 0
    place = tuple(int(n) for n in rng.integers((3, 4)))
    z[place] = 0.0
    bent = [p for p in np.ndindex(z.shape) if abs(np.subtract(*one_sided(f, z, p))) > 1e-3]
    by_hand += bent == [place]
    by_gradcheck += gradcheck(f, z, kinks="skip").kinks == [(0, place)]

right, left = one_sided(tg.relu, np.zeros(1), 0)
print(f"  relu at 0: slope {right:.1f} to the right, {left:.1f} to the left, central {(right + left) / 2:.1f}")
lesson.claim("20 planted kinks: found by one-sided differences", by_hand, "==", 20, row="A05", kind="E")
lesson.claim("20 planted kinks: located by gradcheck", by_gradcheck, "==", 20, row="A05", kind="E")

# %% [markdown]
# ## Who checks the checker?
#
# A checker that has never caught anything proves nothing. So the library keeps a collection of wrong backwards, written
# as people write them: a sign, a missing mean, a transposed factor, a forgotten sum over a broadcast axis, a flipped
# kernel; some are right themselves while their own gradient is wrong; some give the right numbers, but write into
# somebody else's memory, or turn float32 into float64. `planted` puts one in place, and the checker has to object. With
# none in place it must be silent.
#
# The run without the idea is the check that most of us write first: y.sum().backward(), one step size, compare the
# numbers.

# %%
def total(answer):
    """The sum over all outputs of a function."""
    return sum(y.sum() for y in answer) if isinstance(answer, tuple) else answer.sum()

def naively_right(function, inputs, h=1e-6):
    """A cotangent of ones, central differences element by element, first order."""
    leaves = [Tensor(x, requires_grad=True) for x in inputs]
    total(function(*leaves)).backward()
    for i, x in enumerate(inputs):
        for place in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[place] = h
            up, down = (total(function(*inputs[:i], x + s, *inputs[i + 1:])) for s in (step, -step))
            slope = 0.0 if leaves[i].grad is None else leaves[i].grad.numpy()[place]
            if not abs((up - down) / (2 * h) - slope) <= 1e-5:
                return False
    return True

def caught_naively(mutant):
    with planted(mutant):
        try:
            return not all(naively_right(CHECKS[name].function, CHECKS[name].inputs) for name in mutant.checks)
        except (RuntimeError, ValueError):
            return True                                     # the engine itself has refused the shape of the answer

found = {mutant: caught_by(mutant) for mutant in lesson.progress(list(MUTANTS.values()), "planting")}
naive = {mutant: caught_naively(mutant) for mutant in lesson.progress(list(MUTANTS.values()), "planting")}
false_alarms = sum(bool(objection(check.run)) for check in CHECKS.values())

witnesses = Counter(error.check for error in found.values() if error)
print(f"  {'first objection':18}{'mistakes':>9}{'naive':>7}   for example")
for witness, count in witnesses.most_common():
    those = [mutant for mutant, error in found.items() if error and error.check == witness]
    example = those[-1]
    print(f"  {witness:18}{count:9}{sum(naive[m] for m in those):7}   {example.name}: {found[example].cause}")
print(f"  {'none':18}{len(found) - sum(witnesses.values()):9}   {[m.name for m, error in found.items() if not error]}")

lesson.claim("planted mistakes", len(MUTANTS), ">=", 60, row="A05", kind="S")
lesson.claim("planted mistakes that gradcheck finds, share", sum(witnesses.values()) / len(found), ">=", 0.95,
             row="A05", kind="E", baseline=sum(naive.values()) / len(naive), oracle=1.0)
lesson.claim("false alarms on the library as it is", false_alarms, "==", 0, row="A05", kind="E")

# %%
def draw_v(axes, errors, rules, dtype):
    """Measured error over the step, with what truncation and rounding say."""
    leading = (taylor[1] / 2 * STEPS, taylor[2] / 6 * STEPS ** 2, taylor[4] / 480 * STEPS ** 4)
    for r, (rule, color) in enumerate(zip(rules, colors(4))):
        axes.loglog(STEPS, errors[:, r], "o-", color=color, markersize=2.5, linewidth=1, label=rule, zorder=3 - r / 10)
        if r < len(leading):
            axes.loglog(STEPS, leading[r] / taylor[0], "--", color=color, linewidth=0.9, alpha=0.8)
    axes.loglog(STEPS, np.finfo(dtype).eps / STEPS, ":", color="black", linewidth=1)
    best = np.finfo(dtype).eps ** (1 / 3)
    axes.axvline(best, color="black", linewidth=0.6, alpha=0.4)
    axes.set(xlabel="step h", ylim=(3e-17, 30), xlim=(3e-14, 3))
    axes.set_title(f"{np.dtype(dtype)}: central is best near {best:.0e}", loc="left", fontsize=11)

if lesson.draws:
    figure, axes = panels(1, 3, size=(14.5, 4.2))
    draw_v(axes[0], double, RULES, np.float64)
    draw_v(axes[1], single, RULES[:3], np.float32)
    axes[0].set_ylabel("median relative error")
    axes[0].legend(frameon=False, fontsize=9, loc="upper center", ncols=2)
    axes[1].axhline(tolerance, color="black", linewidth=0.6, alpha=0.4)
    axes[1].text(1e-13, 1.4 * tolerance, "gradcheck's tolerance", fontsize=9, va="bottom")
    axes[1].text(1e-13, 1e-16, "dashed: truncation,\nfrom Taylor's series\ndotted: rounding, eps / h", fontsize=9)

    names = [name for name, _ in witnesses.most_common()][::-1]
    by_naive = [sum(naive[m] for m, error in found.items() if error and error.check == name) for name in names]
    axes[2].barh(names, [witnesses[name] for name in names], color=colors(1)[0], alpha=0.35, label="found by gradcheck")
    axes[2].barh(names, by_naive, color=colors(1)[0], label="of these by the naive check")
    axes[2].set_title(f"{len(MUTANTS)} planted mistakes, by first objection", loc="left", fontsize=11)
    axes[2].legend(frameon=False, fontsize=9, loc="lower right")
    axes[2].grid(axis="y", visible=False)
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - `python -m tinygrad_edu.bughunt` hides one of these mistakes in the library. Find it before you ask the checker.
# - Write a Function of your own, give it a wrong sign, and read what `gradcheck` says. Then a backward that is right,
#   but does `gy *= 2` on the way.
# - Which of the naive check's failings costs it most? Give it a random cotangent and count again.
#
# `derivatives` above took the gradient of a gradient of a gradient, five deep. Lesson 04 asks how that works, and what
# for.
