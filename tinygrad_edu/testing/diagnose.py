"""Floor 3: from a wrong gradient to its likeliest cause, by trying the mistakes that people make.

`wrong` is what the backward gave for one operand, `right` what the differences gave, both of the operand's shape.
"""
import numpy as np


class GradientError(AssertionError):
    """A wrong gradient. `check`: which check saw it; `operand`, `index`: where; `cause`: the likeliest, in words."""

    def __init__(self, message, check, operand=None, index=None, cause=None):
        super().__init__(message)
        self.check, self.operand, self.index, self.cause = check, operand, index, cause


class KinkError(ValueError):
    """The function has no derivative at this point, so there is nothing to compare: choose another one."""


def likeliest_cause(wrong, right, output_shapes, answers):
    """One phrase. `answers(axis)`: the backward's answer to the cotangent in slice 0 of an output axis, 0 elsewhere."""
    if not np.isfinite(wrong).all():
        return "NaN or infinity: 0 * inf, or the derivative of a branch that was not taken"
    if not wrong.any():
        return "nothing arrives: a term is missing, or detach() or .data cut the graph"
    return (_factor(wrong, right, output_shapes) or _rearranged(wrong, right)
            or _unsummed(wrong, output_shapes, answers) or _branches(wrong, right) or _constant_term(wrong, right)
            or _few(wrong, right) or "a missing or wrong term in the formula")


def refusal_cause(text):
    """The likeliest reason for an error inside a backward, from its text: the engine's names two shapes."""
    parts = text.partition("gave a gradient of shape ")[2].partition(", its input has ")
    if not parts[1]:
        return "the formula does not fit its operands' shapes, or uses what was not saved"
    got, expected = [tuple(int(n) for n in p.strip("()").split(",") if n.strip()) for p in (parts[0], parts[2])]
    if got == expected[::-1]:
        return "transposed"
    if len(got) >= len(expected) and all(n in (1, m) for n, m in zip(expected[::-1], got[::-1])):
        return "missing sum over broadcast axis"
    if len(got) < len(expected):
        return "not broadcast back to the shape of the input"
    return "the shape of another operand or of the output?"


def _close(a, b):
    return a.shape == b.shape and bool(np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b))


def _factor(wrong, right, output_shapes):
    """wrong = c right for one number c?"""
    c = float(np.vdot(wrong, right) / max(np.vdot(right, right), np.finfo(float).tiny))
    if not c or not _close(wrong, c * right):
        return None
    if abs(c + 1) < 1e-5:
        return "sign"
    shapes = [("the operand", right.shape)] + [("the output", shape) for shape in output_shapes]
    for factor, order, hint in ((c, 1, "missing mean?"), (1 / c, -1, "a mean where a sum belongs?")):
        for n, what in _lengths(shapes[::order]).items():
            if abs(factor - n) < 1e-5 * n:
                return f"off by exactly {'' if factor == c else '1/'}{n}, {what}: {hint}"
    if abs(c - 2) < 1e-5 or abs(c - 0.5) < 1e-5:
        return f"off by exactly {'2' if c > 1 else '1/2'}: a square, or one of two equal terms"
    return f"off by the constant factor {c:.6g}"


def _lengths(shapes):
    """Numbers above 1 that a mean could have divided by, with what each of them is."""
    found = {}
    for what, shape in shapes:
        for axis, n in enumerate(shape):
            text = f"length of axis {axis} of {what}"
            found.setdefault(n, f"the batch size ({text})" if axis == 0 else f"the {text}")
        size = int(np.prod(shape))
        found.setdefault(size, f"the number of elements of {what}")
        for axis, n in enumerate(shape):
            found.setdefault(size // max(n, 1), f"the elements of {what} without axis {axis}")
    return {n: what for n, what in found.items() if n > 1}


def _rearranged(wrong, right):
    """Are the right values in the wrong places?"""
    if wrong.ndim >= 2 and _close(wrong.swapaxes(-1, -2), right):
        return "transposed"
    for axis in range(wrong.ndim):
        if _close(np.flip(wrong, axis), right):
            return f"flipped along axis {axis}"
    if wrong.ndim >= 2 and _close(np.flip(wrong, (-1, -2)), right):
        return "kernel flipped: both last axes are backwards"
    for axis in range(wrong.ndim):
        for k in range(1, wrong.shape[axis]):
            if _close(np.roll(wrong, k, axis), right):
                return f"rolled along axis {axis} by {k} places"
    return None


def _unsummed(wrong, output_shapes, answers):
    """Does only one slice of an axis count over which the operand was broadcast?"""
    for shape in output_shapes[:1]:
        for axis, n in enumerate(shape):
            own = axis - len(shape) + wrong.ndim
            if n > 1 and (own < 0 or wrong.shape[own] == 1) and _close(answers(axis), wrong):
                return f"missing sum over broadcast axis {axis} of the output: only its first slice counts"
    return None


def _branches(wrong, right):
    """Is it a matter of masks or signs, element by element?"""
    small = 1e-7 * abs(right).max()
    leaks, stops = (abs(right) <= small) & (abs(wrong) > small), (abs(right) > small) & (abs(wrong) <= small)
    if leaks.any() and stops.any() and (leaks | stops | ((abs(right) <= small) & (abs(wrong) <= small))).all():
        return "swapped branches: it passes where it must stop, and stops where it must pass"
    if leaks.any() and _close(np.where(leaks, 0.0, wrong), right):
        return "it passes where it must be 0: a mask is missing"
    if _close(abs(wrong), abs(right)):
        return "the sign of some elements"
    return None


def _constant_term(wrong, right):
    """Is the difference the same all along some axis?"""
    difference = right - wrong
    for axis, n in enumerate(difference.shape):
        if n > 2 and _close(difference, np.broadcast_to(difference.mean(axis=axis, keepdims=True), difference.shape)):
            return f"missing term that is constant along axis {axis}: a sum or mean over it (as in a normalization)?"
    return None


def _few(wrong, right):
    off = np.flatnonzero(abs(wrong - right) > 1e-5 * abs(right).max())
    if 0 < len(off) <= wrong.size // 3:
        return f"only {len(off)} of {wrong.size} elements are wrong: repeated indices, ties, or a border?"
    return None
