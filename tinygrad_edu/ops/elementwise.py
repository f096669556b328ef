"""Elementwise primitives: a table of derivatives, simple first, then the ones with kinks and two branches.

Inputs broadcast; each backward answers in the broadcast shape and the engine sums it back (`autograd.sum_to`).
Every function takes Tensors, arrays and Python numbers; arrays in, array out. `each` shares large arrays among threads.
"""
import math

from .. import backend
from ..autograd import Elementwise
from ..tensor import Tensor
from ..threads import each


# ---------------------------------------------------------------- arithmetic

class Add(Elementwise):
    """y = a + b;   dy/da = 1,  dy/db = 1"""
    def forward(self, a, b):
        return a + b
    def backward(self, gy):
        return gy, gy

class Subtract(Elementwise):
    """y = a - b;   dy/da = 1,  dy/db = -1"""
    def forward(self, a, b):
        return a - b
    def backward(self, gy):
        return gy, -gy if self.needs(1) else None

class Multiply(Elementwise):
    """y = a b;   dy/da = b,  dy/db = a"""
    def forward(self, a, b):
        self.save(a, b)
        return a * b
    def backward(self, gy):
        a, b = self.saved
        return gy * b if self.needs(0) else None, gy * a if self.needs(1) else None

class Divide(Elementwise):
    """y = a / b;   dy/da = 1 / b,  dy/db = -a / b^2"""
    def forward(self, a, b):
        self.save(a, b)
        return a / b
    def backward(self, gy):
        a, b = self.saved
        return gy / b if self.needs(0) else None, -gy * a / (b * b) if self.needs(1) else None

class Negative(Elementwise):
    """y = -x;   dy/dx = -1"""
    def forward(self, x):
        return -x
    def backward(self, gy):
        return -gy


# ---------------------------------------------------------------- powers

class Square(Elementwise):
    """y = x^2;   dy/dx = 2 x"""
    def forward(self, x):
        self.save(x)
        return x * x
    def backward(self, gy):
        (x,) = self.saved
        return gy * (2 * x)

class Sqrt(Elementwise):
    """y = sqrt x;   dy/dx = 1 / (2 y), infinite at 0"""
    def forward(self, x):
        y = self.xp.sqrt(x)
        self.save(y)
        return y
    def backward(self, gy):
        (y,) = self.saved
        return gy / (2 * y)

class Power(Elementwise):
    """y = x^p for a number p;   dy/dx = p x^(p-1)"""
    def __init__(self, exponent):
        self.exponent = exponent
    def forward(self, x):
        self.save(x)
        return x ** self.exponent
    def backward(self, gy):
        (x,) = self.saved
        return gy * (self.exponent * power(x, self.exponent - 1))

class PowerOf(Elementwise):
    """y = a^b for a > 0 (a = 0 counts as a limit);   dy/da = b a^(b-1),  dy/db = y log a"""
    def forward(self, a, b):
        y = a ** b
        self.save(a, b, y)
        return y
    def backward(self, gy):
        a, b, y = self.saved
        ga = gy * b * a ** where(b == 0, 1, b - 1)          # 0 * 0^(-1) is 0 here
        gb = gy * y * log(where(a > 0, a, 1))               # 0^b log 0 is 0 here
        return ga, gb


# ---------------------------------------------------------------- exponentials and logarithms

class Exp(Elementwise):
    """y = e^x;   dy/dx = y"""
    def forward(self, x):
        y = each(self.xp.exp, x)
        self.save(y)
        return y
    def backward(self, gy):
        (y,) = self.saved
        return gy * y

class Expm1(Elementwise):
    """y = e^x - 1, exact near 0;   dy/dx = y + 1"""
    def forward(self, x):
        y = self.xp.expm1(x)
        self.save(y)
        return y
    def backward(self, gy):
        (y,) = self.saved
        return gy * (y + 1)

class Log(Elementwise):
    """y = ln x;   dy/dx = 1 / x"""
    def forward(self, x):
        self.save(x)
        return each(self.xp.log, x)
    def backward(self, gy):
        (x,) = self.saved
        return gy / x

class Log1p(Elementwise):
    """y = ln(1 + x), exact near 0;   dy/dx = 1 / (1 + x)"""
    def forward(self, x):
        self.save(x)
        return self.xp.log1p(x)
    def backward(self, gy):
        (x,) = self.saved
        return gy / (1 + x)

class LogAddExp(Elementwise):
    """y = ln(e^a + e^b) without overflow;   dy/da = sigmoid(a - b),  dy/db = sigmoid(b - a)"""
    def forward(self, a, b):
        self.save(a, b)
        return self.xp.logaddexp(a, b)
    def backward(self, gy):
        a, b = self.saved
        return gy * sigmoid(a - b), gy * sigmoid(b - a)


# ---------------------------------------------------------------- trigonometric and sigmoid functions

class Sin(Elementwise):
    """y = sin x;   dy/dx = cos x"""
    def forward(self, x):
        self.save(x)
        return each(self.xp.sin, x)
    def backward(self, gy):
        (x,) = self.saved
        return gy * cos(x)

class Cos(Elementwise):
    """y = cos x;   dy/dx = -sin x"""
    def forward(self, x):
        self.save(x)
        return each(self.xp.cos, x)
    def backward(self, gy):
        (x,) = self.saved
        return -gy * sin(x)

class Arctan(Elementwise):
    """y = arctan x;   dy/dx = 1 / (1 + x^2)"""
    def forward(self, x):
        self.save(x)
        return self.xp.arctan(x)
    def backward(self, gy):
        (x,) = self.saved
        return gy / (1 + x * x)

class Tanh(Elementwise):
    """y = tanh x;   dy/dx = 1 - y^2"""
    def forward(self, x):
        y = each(self.xp.tanh, x)
        self.save(y)
        return y
    def backward(self, gy):
        (y,) = self.saved
        return gy * (1 - y * y)

class Sigmoid(Elementwise):
    """y = 1 / (1 + e^-x) = (1 + tanh(x/2)) / 2, which cannot overflow;   dy/dx = y (1 - y)"""
    def forward(self, x):
        y = each(self.xp.tanh, 0.5 * x)
        y *= 0.5
        y += 0.5
        self.save(y)
        return y
    def backward(self, gy):
        (y,) = self.saved
        return gy * (y * (1 - y))

class Erf(Elementwise):
    """y = 2/sqrt(pi) * integral of e^(-t^2) from 0 to x;   dy/dx = 2/sqrt(pi) e^(-x^2)"""
    def forward(self, x):
        self.save(x)
        return erf_values(self.xp, x)
    def backward(self, gy):
        (x,) = self.saved
        return gy * (2 / math.sqrt(math.pi) * exp(-x * x))


# ---------------------------------------------------------------- kinks: what happens there is decided in words

class Abs(Elementwise):
    """y = |x|;   dy/dx = sign x, and 0 at 0"""
    def forward(self, x):
        self.save(x)
        return abs(x)
    def backward(self, gy):
        (x,) = self.saved
        return gy * sign(x)

class ReLU(Elementwise):
    """y = max(x, 0);   dy/dx = 1 where x > 0, and 0 at 0"""
    def forward(self, x):
        self.save(x > 0)
        return self.xp.maximum(x, 0)
    def backward(self, gy):
        (positive,) = self.saved
        return gy * positive

class Clip(Elementwise):
    """y = min(max(x, low), high);   dy/dx = 1 for low <= x <= high, bounds included, else 0"""
    def __init__(self, low, high):
        self.low, self.high = low, high
    def forward(self, x):
        y = self.xp.clip(x, self.low, self.high)
        self.save(x == y)
        return y
    def backward(self, gy):
        (inside,) = self.saved
        return gy * inside

class Maximum(Elementwise):
    """y = max(a, b);   the gradient goes to the larger one, half to each where they tie"""
    def forward(self, a, b):
        self.save(a > b, a == b)
        return self.xp.maximum(a, b)
    def backward(self, gy):
        larger, tie = self.saved
        ga = gy * larger + 0.5 * gy * tie
        return ga, gy - ga

class Minimum(Elementwise):
    """y = min(a, b);   the gradient goes to the smaller one, half to each where they tie"""
    def forward(self, a, b):
        self.save(a < b, a == b)
        return self.xp.minimum(a, b)
    def backward(self, gy):
        smaller, tie = self.saved
        ga = gy * smaller + 0.5 * gy * tie
        return ga, gy - ga

class Where(Elementwise):
    """y = a where the condition holds, else b;   each gradient passes where its branch was taken"""
    def __init__(self, condition):
        self.condition = condition
    def forward(self, a, b):
        return self.xp.where(self.condition, a, b)
    def backward(self, gy):
        return where(self.condition, gy, 0.0), where(self.condition, 0.0, gy)

class Cast(Elementwise):
    """y = x in another float type;   dy/dx = 1, in x's type"""
    def __init__(self, dtype):
        self.dtype = dtype
    def forward(self, x):
        self.x_dtype = x.dtype
        return x.astype(self.dtype)
    def backward(self, gy):
        return gy.astype(self.x_dtype)


# ---------------------------------------------------------------- the functions

def add(a, b):
    """a + b"""
    return Add().apply(a, b)

def subtract(a, b):
    """a - b"""
    return Subtract().apply(a, b)

def multiply(a, b):
    """a * b"""
    return Multiply().apply(a, b)

def divide(a, b):
    """a / b"""
    return Divide().apply(a, b)

def negative(x):
    """-x"""
    return Negative().apply(x)

def square(x):
    """x^2"""
    return Square().apply(x)

def sqrt(x):
    """Square root; its derivative at 0 is infinite."""
    return Sqrt().apply(x)

def power(a, b):
    """a^b. With a number b any a is allowed that NumPy allows; with an array or tensor b, a > 0."""
    if isinstance(b, (int, float)):
        if b == 2:
            return Square().apply(a)
        if b == 1 or b == 0:                        # the general formula would meet 0^(-1)
            return a * b + (1 - b)
        return Power(b).apply(a)
    if isinstance(a, (int, float)):
        return Exp().apply(b * math.log(a))
    return PowerOf().apply(a, b)

def exp(x):
    """e^x"""
    return Exp().apply(x)

def expm1(x):
    """e^x - 1 without cancellation near 0."""
    return Expm1().apply(x)

def log(x):
    """Natural logarithm, x > 0."""
    return Log().apply(x)

def log1p(x):
    """ln(1 + x) without cancellation near 0, x > -1."""
    return Log1p().apply(x)

def logaddexp(a, b):
    """ln(e^a + e^b) without overflow."""
    return LogAddExp().apply(a, b)

def sin(x):
    """Sine of x in radians."""
    return Sin().apply(x)

def cos(x):
    """Cosine of x in radians."""
    return Cos().apply(x)

def arctan(x):
    """Inverse tangent, in (-pi/2, pi/2)."""
    return Arctan().apply(x)

def tanh(x):
    """Hyperbolic tangent."""
    return Tanh().apply(x)

def sigmoid(x):
    """1 / (1 + e^-x)"""
    return Sigmoid().apply(x)

def erf(x):
    """The error function, to about 1e-15."""
    return Erf().apply(x)

def absolute(x):
    """|x|; the derivative at 0 is taken as 0."""
    return Abs().apply(x)

def relu(x):
    """max(x, 0); the derivative at 0 is taken as 0."""
    return ReLU().apply(x)

def clip(x, low=None, high=None):
    """x limited to [low, high], two numbers or None for no limit; the gradient passes at the bounds."""
    if low is not None and high is not None and low > high:
        raise ValueError(f"clip: got low = {low} above high = {high}")
    return Clip(low, high).apply(x)

def maximum(a, b):
    """The larger of a and b; a tie shares the gradient equally."""
    return Maximum().apply(a, b)

def minimum(a, b):
    """The smaller of a and b; a tie shares the gradient equally."""
    return Minimum().apply(a, b)

def where(condition, a, b):
    """a where `condition` (bool, no gradient) holds, else b; the three broadcast."""
    return Where(condition.data if isinstance(condition, Tensor) else condition).apply(a, b)

def cast(x, dtype):
    """x in another dtype. Between float types the gradient passes; integers and bools have none."""
    if x.dtype.kind == "f" and backend.is_float(dtype):
        return Cast(dtype).apply(x)
    return constant(x, lambda data: data.astype(dtype))


# ---------------------------------------------------------------- values without a gradient

def sign(x):
    """-1, 0 or 1: a constant, its derivative is 0 wherever it has one."""
    return constant(x, lambda data: backend.array_module(data).sign(data))

def floor(x):
    """Largest integer <= x, as a constant."""
    return constant(x, lambda data: backend.array_module(data).floor(data))

def round(x):
    """Nearest integer, halves to even, as a constant."""
    return constant(x, lambda data: backend.array_module(data).rint(data))

def isfinite(x):
    """True where x is neither NaN nor infinite."""
    return constant(x, lambda data: backend.array_module(data).isfinite(data))

def isnan(x):
    """True where x is NaN."""
    return constant(x, lambda data: backend.array_module(data).isnan(data))

def equal(a, b):
    """a == b, elementwise, as a constant of bools."""
    return constant(a, lambda data: data == array_of(b))

def not_equal(a, b):
    """a != b, elementwise, as a constant of bools."""
    return constant(a, lambda data: data != array_of(b))

def less(a, b):
    """a < b, elementwise, as a constant of bools."""
    return constant(a, lambda data: data < array_of(b))

def less_equal(a, b):
    """a <= b, elementwise, as a constant of bools."""
    return constant(a, lambda data: data <= array_of(b))

def greater(a, b):
    """a > b, elementwise, as a constant of bools."""
    return constant(a, lambda data: data > array_of(b))

def greater_equal(a, b):
    """a >= b, elementwise, as a constant of bools."""
    return constant(a, lambda data: data >= array_of(b))

def array_of(x):
    """The array inside a Tensor; anything else as it is."""
    return x.data if isinstance(x, Tensor) else x

def constant(x, function):
    """`function` of the array in `x`, outside the graph: a Tensor if x is one, else an array."""
    if not isinstance(x, Tensor):
        return function(x)
    data = function(x.data)
    return x._wrapped_like(backend.array_module(x.data).asarray(data))


# ---------------------------------------------------------------- erf, which NumPy lacks

# W. J. Cody 1969, Rational Chebyshev approximations for the error function: |x| <= 0.5, 0.5..4, and beyond.
_SMALL = ((1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
           3.20937758913846947e3),
          (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3))
_MIDDLE = ((2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
            2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
            1.23033935479799725e3),
           (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
            3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3))
_LARGE = ((1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
           1.60837851487422766e-2, 6.58749161529837803e-4),
          (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
           2.33520497626869185e-3))

def erf_values(xp, x):
    """erf on an array: three rational approximations, each where it is good."""
    a = abs(x)
    small = x * _ratio(_SMALL, xp.minimum(x * x, 0.25))

    a = xp.clip(a, 0.5, 6.0)                                # beyond 6 the answer is 1 to the last digit
    tail = xp.exp(-a * a)
    middle = tail * _ratio(_MIDDLE, xp.minimum(a, 4.0))
    z = 1 / (a * a)
    large = tail / a * (1 / math.sqrt(math.pi) - z * _ratio(_LARGE, xp.minimum(z, 0.0625)))
    far = xp.copysign(1 - xp.where(a <= 4.0, middle, large), x)
    return xp.where(abs(x) <= 0.5, small, far)

def _ratio(coefficients, t):
    """p(t) / q(t), coefficients of the highest power first."""
    p, q = coefficients
    return _horner(p, t) / _horner(q, t)

def _horner(coefficients, t):
    value = 0.0
    for c in coefficients:
        value = value * t + c
    return value
