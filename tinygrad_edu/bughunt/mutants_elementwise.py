"""Floor 3: wrong backwards of ops/elementwise.py."""
import numpy as np

from .. import autograd
from ..ops import elementwise as E
from .mutants import MUTANTS, Mutant, check, constant, normal, positive, wrong

check("add", E.add, normal(3, 4), normal(4))
check("subtract", E.subtract, normal(3, 4), normal(3, 1))
check("multiply", E.multiply, normal(3, 4), normal(4))
check("divide", E.divide, normal(3, 4), positive(4))
check("negative", E.negative, normal(5))
check("square", E.square, normal(5))
check("sqrt", E.sqrt, positive(5))
check("cube", lambda x: E.power(x, 3), normal(5))
check("power", E.power, positive(3, 4), normal(4))
check("exp", E.exp, normal(5))
check("expm1", E.expm1, normal(5))
check("log", E.log, positive(5))
check("log1p", E.log1p, positive(5))
check("logaddexp", E.logaddexp, normal(3, 4), normal(4))
check("sin", E.sin, normal(5))
check("cos", E.cos, normal(5))
check("arctan", E.arctan, normal(5))
check("tanh", E.tanh, normal(5))
check("sigmoid", E.sigmoid, normal(5))
check("erf", E.erf, normal(5))
check("absolute", E.absolute, normal(5))
check("relu", E.relu, normal(5))
check("clip", lambda x: E.clip(x, -0.5, 0.5), normal(9))
check("maximum", E.maximum, normal(3, 4), normal(4))
check("maximum of x and x", lambda x: E.maximum(x, x), normal(5))
check("minimum", E.minimum, normal(3, 4), normal(4))
check("where", lambda a, b: E.where(np.arange(4) % 2 == 0, a, b), normal(3, 4), normal(4))


# ---------------------------------------------------------------- a wrong formula

@wrong(E.Add, "add")
def add_forgets_the_second_operand(self, gy):
    """Gives no gradient to b."""
    return gy, None

@wrong(E.Subtract, "subtract")
def subtract_has_no_minus(self, gy):
    """Sign: gives +gy to b."""
    return gy, gy

@wrong(E.Multiply, "multiply")
def multiply_gives_each_its_own_value(self, gy):
    """d(ab)/da is b, not a."""
    a, b = self.saved
    return gy * a, gy * b

@wrong(E.Multiply, "multiply")
def multiply_forgets_a_term(self, gy):
    """The product rule without its second term."""
    return gy * self.saved[1], None

@wrong(E.Divide, "divide")
def divide_has_no_minus(self, gy):
    """Sign: +a / b^2 for b."""
    a, b = self.saved
    return gy / b, gy * a / (b * b)

@wrong(E.Divide, "divide")
def divide_forgets_the_square(self, gy):
    """-a / b for b."""
    a, b = self.saved
    return gy / b, -gy * a / b

@wrong(E.Negative, "negative")
def negative_is_the_identity(self, gy):
    """Sign."""
    return gy

@wrong(E.Square, "square")
def square_forgets_the_two(self, gy):
    """x instead of 2 x."""
    return gy * self.saved[0]

@wrong(E.Sqrt, "sqrt")
def sqrt_forgets_the_half(self, gy):
    """1 / y instead of 1 / (2 y)."""
    return gy / self.saved[0]

@wrong(E.Power, "cube")
def power_keeps_the_exponent(self, gy):
    """p x^p: the exponent is off by one."""
    return gy * (self.exponent * E.power(self.saved[0], self.exponent))

@wrong(E.PowerOf, "power")
def power_forgets_the_base_in_the_logarithm(self, gy):
    """y for the exponent, instead of y log a."""
    a, b, y = self.saved
    return gy * b * a ** (b - 1), gy * y

@wrong(E.Exp, "exp")
def exp_passes_the_cotangent(self, gy):
    """1 instead of y."""
    return gy

@wrong(E.Expm1, "expm1")
def expm1_forgets_the_one(self, gy):
    """y instead of y + 1."""
    return gy * self.saved[0]

@wrong(E.Log1p, "log1p")
def log1p_is_taken_for_log(self, gy):
    """1 / x instead of 1 / (1 + x)."""
    return gy / self.saved[0]

@wrong(E.LogAddExp, "logaddexp")
def logaddexp_swaps_its_operands(self, gy):
    """sigmoid(b - a) for a."""
    a, b = self.saved
    return gy * E.sigmoid(b - a), gy * E.sigmoid(a - b)

@wrong(E.Sin, "sin")
def sin_has_a_minus(self, gy):
    """Sign: -cos x."""
    return -gy * E.cos(self.saved[0])

@wrong(E.Cos, "cos")
def cos_has_no_minus(self, gy):
    """Sign: +sin x."""
    return gy * E.sin(self.saved[0])

@wrong(E.Arctan, "arctan")
def arctan_forgets_the_square(self, gy):
    """1 / (1 + |x|) instead of 1 / (1 + x^2)."""
    return gy / (1 + E.absolute(self.saved[0]))

@wrong(E.Tanh, "tanh")
def tanh_forgets_the_square(self, gy):
    """1 - y instead of 1 - y^2."""
    return gy * (1 - self.saved[0])

@wrong(E.Sigmoid, "sigmoid")
def sigmoid_has_the_wrong_sign_inside(self, gy):
    """y (1 + y) instead of y (1 - y)."""
    (y,) = self.saved
    return gy * (y * (1 + y))

@wrong(E.Erf, "erf")
def erf_forgets_its_constant(self, gy):
    """e^(-x^2) without 2 / sqrt(pi)."""
    (x,) = self.saved
    return gy * E.exp(-x * x)


# ---------------------------------------------------------------- the wrong branch

@wrong(E.Abs, "absolute")
def absolute_forgets_the_sign(self, gy):
    """1 on both sides of 0."""
    return gy

@wrong(E.ReLU, "relu")
def relu_leaks(self, gy):
    """Lets the gradient pass below 0."""
    return gy

@wrong(E.Clip, "clip")
def clip_lets_all_pass(self, gy):
    """1 outside the bounds too."""
    return gy

@wrong(E.Maximum, "maximum of x and x")
def maximum_gives_ties_to_both(self, gy):
    """Where a = b each gets the full gradient: together twice as much."""
    larger, tie = self.saved
    return gy * larger + gy * tie, gy * (larger == tie) + gy * tie

@wrong(E.Minimum, "minimum")
def minimum_is_taken_for_maximum(self, gy):
    """The larger one gets the gradient."""
    smaller, _ = self.saved
    return gy - gy * smaller, gy * smaller

@wrong(E.Where, "where")
def where_swaps_its_branches(self, gy):
    """a gets the gradient where b was taken."""
    return E.where(self.condition, 0.0, gy), E.where(self.condition, gy, 0.0)


# ---------------------------------------------------------------- right to first order only

@wrong(E.Log, "log")
def log_takes_x_for_a_constant(self, gy):
    """Second derivative 0: x is detached in the backward."""
    return gy / constant(self.saved[0])

@wrong(E.Tanh, "tanh")
def tanh_takes_y_for_a_constant(self, gy):
    """Second derivative 0: y is detached in the backward."""
    y = constant(self.saved[0])
    return gy * (1 - y * y)

@wrong(E.Divide, "divide")
def divide_takes_the_numerator_for_a_constant(self, gy):
    """The mixed second derivative is missing."""
    a, b = self.saved
    return gy / b, -gy * constant(a) / (b * b)

@wrong(E.Sin, "sin")
def sin_takes_the_cotangent_for_a_constant(self, gy):
    """The double backward does not reach gy."""
    return constant(gy) * E.cos(self.saved[0])


# ---------------------------------------------------------------- right numbers, broken laws

@wrong(E.Exp, "exp")
def exp_writes_into_the_cotangent(self, gy):
    """gy *= y: the array belongs to whoever else uses this gradient."""
    gy *= self.saved[0]
    return gy

@wrong(E.Sigmoid, "sigmoid")
def sigmoid_writes_into_what_it_saved(self, gy):
    """The second backward through this node would see other numbers."""
    (y,) = self.saved
    if not isinstance(y, np.ndarray):
        return gy * (y * (1 - y))
    y *= 1 - y
    return gy * y

_buffer = {}

@wrong(E.Sqrt, "sqrt")
def sqrt_reuses_one_buffer(self, gy):
    """The gradient of the next call overwrites the one of this call."""
    (y,) = self.saved
    if not isinstance(gy, np.ndarray):
        return gy / (2 * y)
    return np.divide(gy, 2 * y, out=_buffer.setdefault((y.shape, y.dtype), np.empty_like(y)))

@wrong(E.Erf, "erf")
def erf_leaks_float64(self, gy):
    """np.sqrt gives an np.float64, which widens float32 arrays."""
    (x,) = self.saved
    return gy * (2 / np.sqrt(np.pi) * E.exp(-x * x))

@wrong(E.Square, "square", method="forward")
def square_computes_in_float64(self, x):
    """The value is float64 whatever comes in."""
    self.save(x)
    return np.float64(1) * x * x

@wrong(E.Arctan, "arctan")
def arctan_clips_its_cotangent(self, gy):
    """Not linear: a gradient larger than 1 is cut, a small one is right."""
    return E.clip(gy, -1.0, 1.0) / (1 + self.saved[0] * self.saved[0])

@wrong(autograd, "add", "divide", method="sum_to")
def sum_to_takes_the_first_slice(g, shape):
    """Missing sum over broadcast axis: only one of the copies of a broadcast operand counts."""
    g = g[(0,) * (g.ndim - len(shape))]
    return g[tuple(slice(0, 1) if n == 1 else slice(None) for n in shape)]

MUTANTS["add_does_not_sum_back"] = Mutant("add_does_not_sum_back", E.Add, "broadcasts", False, ("add",),
                                          "Missing sum over broadcast axis: gives a gradient of the output's shape.")
