"""Floor 3: is this backward right? One call for a primitive, a kernel, a model, or a function of your own.

    from tinygrad_edu.testing import gradcheck
    gradcheck(lambda x, w: (x @ w).tanh(), x, w)

For a random cotangent u and a random direction v of each operand, <J'u, v> (what the backward says) must equal
<u, J v> (what differences say). Random, because a fixed u hides mistakes: with u = 1 whatever sums to zero, as a
normalized batch does, may be wrong unseen. One number tests all elements at once; only after a failure is the wrong
element looked for.

Second witness: J v once more, by differentiating <J'u, v> with respect to u, tested against a fresh cotangent w:
<w, J v> = <J'w, v>. It needs no differences, and holds only if the backward is linear in its cotangent and its
double backward agrees.
"""
import dataclasses

import numpy as np

from ..autograd import grad
from ..tensor import Tensor
from .diagnose import GradientError, KinkError, likeliest_cause, refusal_cause
from .laws import check_float32, check_memory, check_own_memory, watched
from .numeric import Problem, elements, slope

MOST_ELEMENTS = 1000            # of one operand, looked at one by one after a failure


@dataclasses.dataclass
class Report:
    """What gradcheck found.

    error              the largest relative error of a directional derivative
    kinks              (operand, index) of the elements left out with kinks="skip"
    adjoint, float32   "", or why the second witness or the run in float32 was not possible
    """
    error: float
    kinks: list
    adjoint: str = ""
    float32: str = ""


def gradcheck(function, *inputs, order=1, tolerance=1e-6, seed=0, kinks="raise"):
    """Check the gradients of `function`, which takes Tensors and returns a Tensor or a tuple, at the point `inputs`.

    Float inputs (arrays, Tensors, numbers) are operands and must be float64; everything else is a constant. `order=2`
    also checks the gradient of the gradient. `kinks`: "raise" KinkError where one-sided differences disagree, or
    "skip" those elements. A wrong gradient raises GradientError, an AssertionError; else a Report is returned.
    """
    if kinks not in ("raise", "skip"):
        raise ValueError(f"gradcheck: got kinks={kinks!r}, expected 'raise' or 'skip'")
    problem = Problem(function, inputs)
    with np.errstate(all="ignore"):                         # what is not finite is an error here, not a warning
        return _check(problem, order, tolerance, np.random.default_rng(seed), kinks, "order 1")


def gradgradcheck(function, *inputs, tolerance=1e-6, seed=0, kinks="raise"):
    """Check only the second order: gradcheck of the gradient as a function of the operands and the cotangent."""
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        return _check(_vjp(Problem(function, inputs, caller="gradgradcheck"), rng), 1, tolerance, rng, kinks, "order 2")


def adjoint_test(forward, adjoint, shape_in, shape_out, seed=0, tolerance=1e-12):
    """Check that two linear functions of arrays are adjoint: <u, forward(v)> = <adjoint(u), v> for random u and v."""
    rng = np.random.default_rng(seed)
    v, u = rng.standard_normal(shape_in), rng.standard_normal(shape_out)
    terms, others = u * forward(v), adjoint(u) * v
    error = abs(np.sum(terms) - np.sum(others)) / max(np.sum(abs(terms)), np.sum(abs(others)), 1e-300)
    if error > tolerance:
        raise GradientError(f"adjoint_test: <u, F v> = {np.sum(terms):.6g} but <F'u, v> = {np.sum(others):.6g}, "
                            f"relative error {error:.1e}, expected at most {tolerance:.0e}", check="adjoint")
    return Report(float(error), [])


# ---------------------------------------------------------------- one order

def _check(problem, order, tolerance, rng, kinks, check):
    ys = _check_values(problem)
    cotangents = [np.asarray(rng.standard_normal(y.shape)) for y in ys]
    directions = [np.asarray(rng.standard_normal(x.shape)) for x in problem.operands()]

    gradients = _gradients(problem, cotangents)
    report = Report(0.0, [])
    for i, g in enumerate(gradients):
        line = _slope_along(problem, cotangents, directions, i)
        if line.kinked:
            report.kinks += _leave_out_kinks(problem, cotangents, directions, i, kinks)
            line = _slope_along(problem, cotangents, directions, i)
        report.error = max(report.error, _compare(problem, cotangents, directions, i, g, line, tolerance, rng, check))

    report.adjoint = _second_witness(problem, cotangents, directions, gradients, rng, tolerance, check)
    report.float32 = check_float32(problem, cotangents)
    if order > 1:
        second = _check(_vjp(problem, rng), order - 1, tolerance, rng, kinks, f"order {int(check[-1]) + 1}")
        report = Report(max(report.error, second.error), list(dict.fromkeys(report.kinks + second.kinks)),
                        report.adjoint or second.adjoint, report.float32 or second.float32)
    return report


def _check_values(problem):
    """The outputs, if the function is one: finite, the same twice, and without a trace in its operands."""
    before = [x.copy() for x in problem.operands()]
    xs, ys = problem.run(problem.operands())
    check_memory(xs, before, [], [], f"{problem.caller}: {problem.label}")
    for y, again in zip(ys, problem.run(problem.operands())[1]):
        if not np.isfinite(y.data).all():
            raise ValueError(f"{problem.caller}: {problem.label} is not finite at this point; expected finite values")
        if not np.array_equal(y.data, again.data):
            raise ValueError(f"{problem.caller}: {problem.label} gave two values at one point; expected one: draw its "
                             "random numbers outside and pass them in")
    return ys


def _gradients(problem, cotangents):
    """J'u for each operand, by the backwards on arrays with every law watched; zeros where nothing arrives."""
    before, caller = [x.copy() for x in problem.operands()], f"{problem.caller}: {problem.label}"
    try:
        xs, ys = problem.run(problem.operands(), requires_grad=True)
        kept = [(y, Tensor._wrap(u)) for y, u in zip(ys, cotangents) if y.requires_grad]
        with watched(ys, caller):
            gs = grad([y for y, _ in kept], xs, [u for _, u in kept], allow_unused=True)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise _engine_error(problem, error) from error
    check_memory(xs, before, gs, cotangents, caller)
    return [np.zeros(x.shape) if g is None else g.data for x, g in zip(xs, gs)]


def _slope_along(problem, cotangents, directions, i):
    """phi'(0) when only operand i moves."""
    alone = [v if j == i else np.zeros(v.shape) for j, v in enumerate(directions)]
    return slope(problem.along(alone, cotangents), problem.size(cotangents))


def _compare(problem, cotangents, directions, i, g, line, tolerance, rng, check):
    """The relative error of <g, v>, if it is within the tolerance (and the differences' own error)."""
    terms = _terms(g, directions[i])
    scale = max(float(np.sum(abs(terms))), abs(line.value))
    error = abs(float(np.sum(terms)) - line.value)
    allowed = tolerance * scale + min(5 * line.error, 1e-4 * max(scale, line.size))
    if not error <= allowed:
        raise _located_error(problem, cotangents, directions, i, g, rng, check)
    return error / scale if scale else 0.0


def _terms(g, v):
    """g v, and 0 where v is 0, though g be infinite there."""
    return np.multiply(g, v, out=np.zeros(v.shape), where=v != 0)


def _leave_out_kinks(problem, cotangents, directions, i, kinks):
    """Set the direction to 0 where operand i has a kink, or raise there; returns the places."""
    shape = directions[i].shape
    slopes = elements(problem, i, cotangents, range(directions[i].size))
    places = [k for k, s in enumerate(slopes) if s.kinked]
    indices = [tuple(int(n) for n in np.unravel_index(k, shape)) for k in places]
    if kinks == "raise" or not places:
        value = f" (value {problem.operands()[i][indices[0]]:.6g})" if places else ""
        where = f"{problem.names[problem.floats[i]]}, index {indices[0] if places else 'unknown'}{value}"
        raise KinkError(f"{problem.caller}: {problem.label} has a kink or a jump at {where}: its one-sided differences "
                        "disagree; move the point away or pass kinks='skip'")
    directions[i].reshape(-1)[places] = 0
    return [(i, index) for index in indices]


def _second_witness(problem, cotangents, directions, gradients, rng, tolerance, check):
    """<w, J v> against <J'w, v>, J v by double backward. Returns "" or why it could not be asked."""
    xs, ys = problem.run(problem.operands(), requires_grad=True)
    fresh = [np.asarray(10 * rng.standard_normal(y.shape)) for y in ys]         # larger too: a clipped cotangent shows
    again = _gradients(problem, fresh)
    check_own_memory(again, gradients, f"{problem.caller}: {problem.label}")
    triples = [(y, Tensor(u, requires_grad=True, device="cpu"), w) for y, u, w in zip(ys, cotangents, fresh) if y.requires_grad]
    if not triples:
        return "no output is in the graph"
    try:
        kept, us, ws = zip(*triples)
        gs = grad(kept, xs, us, create_graph=True, allow_unused=True)
        jvs = grad(sum((g * v).sum() for g, v in zip(gs, directions) if g is not None), us, allow_unused=True)
    except RuntimeError as error:
        return str(error)

    left = [w * jv.data for w, jv in zip(ws, jvs) if jv is not None]
    right = [_terms(g, v) for g, v in zip(again, directions)]
    error = abs(sum(map(np.sum, left)) - sum(map(np.sum, right)))
    scale = max(sum(np.sum(abs(t)) for t in left), sum(np.sum(abs(t)) for t in right))
    lengths = [sum(np.linalg.norm(a) for a in arrays) for arrays in (ws, directions)]
    if error > tolerance * scale + 16 * np.finfo(float).eps * lengths[0] * lengths[1]:      # where all cancels, rounding is left
        cause = "the backward is not linear in its cotangent, or answers otherwise under create_graph"
        raise GradientError(f"{problem.caller}: {problem.label}, {check}: <w, J v> by double backward and <J'w, v> by "
                            f"backward differ by {error / scale:.1e} of their size. Likeliest cause: {cause}.",
                            check="adjoint", cause=cause)
    return ""


def _vjp(problem, rng):
    """The Problem of J'u as a function of the operands and of u."""
    ys = problem.run(problem.operands())[1]
    us = [np.asarray(rng.standard_normal(y.shape)) for y in ys]
    count = len(problem.inputs)

    def vjp(*arguments):
        record = any(isinstance(a, Tensor) and a.requires_grad for a in arguments)
        leaves = [a if not isinstance(a, Tensor) or a.requires_grad or a.dtype.kind != "f"
                  else Tensor._wrap(a.data).requires_grad_() for a in arguments]
        answer = problem.function(*leaves[:count])
        ys = [y for y in (answer if isinstance(answer, (tuple, list)) else (answer,)) if y.dtype.kind == "f"]
        kept = [(y, u) for y, u in zip(ys, leaves[count:]) if y.requires_grad]
        if not kept:
            return ()
        gs = grad([y for y, _ in kept], [leaves[i] for i in problem.floats], [u for _, u in kept],
                  create_graph=record, allow_unused=True)
        return tuple(g for g in gs if g is not None)

    vjp.__name__ = f"gradient of {problem.label}"
    names = problem.names + [f"cotangent {i}" for i in range(len(us))]
    return Problem(vjp, problem.inputs + us, names, problem.caller)


# ---------------------------------------------------------------- after a failure

def _located_error(problem, cotangents, directions, i, g, rng, check):
    """The GradientError that names operand, index and likeliest cause, after looking element by element."""
    places = np.flatnonzero(directions[i].reshape(-1))              # kinks were set to 0
    whole = len(places) == g.size <= MOST_ELEMENTS
    if len(places) > MOST_ELEMENTS:
        places = np.sort(rng.choice(places, MOST_ELEMENTS, replace=False))
    right = np.array([s.value for s in elements(problem, i, cotangents, places)])
    wrong = g.reshape(-1)[places]
    worst = int(np.argmax(np.nan_to_num(abs(wrong - right), nan=np.inf)))
    index = tuple(int(n) for n in np.unravel_index(places[worst], g.shape))
    size = max(abs(wrong[worst]), abs(right[worst]), 1e-300)

    cause = _cause(problem, cotangents, i, g, right) if whole else likeliest_cause(wrong, right, [], None)
    name = problem.names[problem.floats[i]]
    return GradientError(
        f"{problem.caller}: {problem.label}, {check}: {name}, index {index}: backward gives {wrong[worst]:.6g}, "
        f"differences give {right[worst]:.6g}, relative error {abs(wrong[worst] - right[worst]) / size:.1e}. "
        f"Likeliest cause: {cause}.",
        check=check, operand=problem.floats[i], index=index, cause=cause)


def _cause(problem, cotangents, i, g, right):
    def answers(axis):
        """The backward's answer to a cotangent that is 0 outside slice 0 of `axis` of the first output."""
        only = np.zeros_like(cotangents[0])
        first = (slice(None),) * axis + (slice(0, 1),)
        only[first] = cotangents[0][first]
        return _gradients(problem, [only] + cotangents[1:])[i]
    return likeliest_cause(g, right.reshape(g.shape), [u.shape for u in cotangents], answers)


def _engine_error(problem, error):
    """The engine refused the backward's answer, or the backward itself broke: say so as a GradientError."""
    cause = refusal_cause(str(error))
    return GradientError(f"{problem.caller}: {problem.label}: the backward failed: {error}. Likeliest cause: {cause}.",
                         check="engine", cause=cause)
