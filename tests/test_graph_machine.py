"""Random graphs against a naive sum over all paths. Hypothesis draws the program, and shrinks it if the two disagree.

The reference knows nothing of tensors: a variable is two `Scalar`s, and a derivative is what the chain rule says in words,
the sum over all paths of the product of the local derivatives. It is a Scalar again, so it has derivatives itself.
"""
import math

import numpy as np
from hypothesis import settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

import tinygrad_edu as tg

# ---------------------------------------------------------------- the reference: about forty lines


class Scalar:
    """A number, and how it was computed: `locals()` gives [(argument, local derivative)], made only when asked for."""
    def __init__(self, value, locals=lambda: []):
        self.value, self.locals = value, locals

    def __add__(self, other):
        return Scalar(self.value + other.value, lambda: [(self, ONE), (other, ONE)])

    def __sub__(self, other):
        return Scalar(self.value - other.value, lambda: [(self, ONE), (other, Scalar(-1.0))])

    def __mul__(self, other):
        return Scalar(self.value * other.value, lambda: [(self, other), (other, self)])


ONE, ZERO = Scalar(1.0), Scalar(0.0)


def sin(x):
    return Scalar(math.sin(x.value), lambda: [(x, sin(x + Scalar(math.pi / 2)))])


def square(x):
    return Scalar(x.value**2, lambda: [(x, x + x)])


def exp(x):
    y = Scalar(math.exp(x.value), lambda: [(x, y)])
    return y


def same(x):
    return Scalar(x.value, lambda: [(x, ONE)])


def constant(x):
    return Scalar(x.value)


def derivative(y, x):
    """The sum over all paths from x to y; the object ZERO if there is none."""
    total = ONE if y is x else ZERO
    for argument, local in y.locals():
        below = derivative(argument, x)
        if below is not ZERO:
            total = local * below if total is ZERO else total + local * below
    return total


def paths(y):
    """How many paths end in y, so that a draw which would take the reference forever can be left out."""
    return 1 + sum(paths(argument) for argument, _ in y.locals())


# ---------------------------------------------------------------- the machine

BINARY = {"add": lambda a, b: a + b, "subtract": lambda a, b: a - b, "multiply": lambda a, b: a * b}
UNARY = {"sin": (tg.sin, sin), "square": (tg.square, square), "exp": (tg.exp, exp),
         "same": (lambda x: x * 1, same)}
WRITES = {"add": tg.Tensor.add_, "subtract": tg.Tensor.sub_, "multiply": tg.Tensor.mul_}
NUMBERS = st.sampled_from([-1.5, -1.0, -0.5, 0.0, 0.25, 1.0, 2.0])
COTANGENT = np.array([1.0, -2.0])
PATHS, PATHS_TWICE, LARGE = 2_000, 60, 100.0


class Variable:
    """A tensor of two numbers beside the two Scalars that it should equal."""
    def __init__(self, tensor, scalars):
        self.tensor, self.scalars = tensor, scalars
        self.expected_grad = None                   # what backward() should have left in .grad


def weighted(y):
    """The scalar whose derivative backward(COTANGENT) computes."""
    return Scalar(COTANGENT[0]) * y.scalars[0] + Scalar(COTANGENT[1]) * y.scalars[1]


def is_large(scalars):
    return any(abs(p.value) > LARGE for p in scalars)


def gradient_of(output, x):
    return [derivative(output, scalar) for scalar in x.scalars]


class Graphs(RuleBasedStateMachine):
    variables = Bundle("variables")
    leaves = Bundle("leaves")

    def __init__(self):
        super().__init__()
        self.all = []

    def keep(self, tensor, scalars):
        self.all.append(Variable(tensor, scalars))
        return self.all[-1]

    @initialize(target=leaves, values=st.tuples(NUMBERS, NUMBERS))
    def first_leaf(self, values):
        return self.leaf(values)

    @rule(target=leaves, values=st.tuples(NUMBERS, NUMBERS))
    def new_leaf(self, values):
        return self.leaf(values)

    def leaf(self, values):
        return self.keep(tg.tensor(np.array(values), requires_grad=True), [Scalar(v) for v in values])

    @rule(target=variables, values=st.tuples(NUMBERS, NUMBERS))
    def new_constant(self, values):
        return self.keep(tg.tensor(np.array(values)), [Scalar(v) for v in values])

    @rule(target=variables, name=st.sampled_from(sorted(BINARY)), a=leaves | variables, b=leaves | variables)
    def binary(self, name, a, b):
        f = BINARY[name]
        scalars = [f(p, q) for p, q in zip(a.scalars, b.scalars)]
        return multiple() if is_large(scalars) else self.keep(f(a.tensor, b.tensor), scalars)

    @rule(target=variables, name=st.sampled_from(sorted(UNARY)), a=leaves | variables)
    def unary(self, name, a):
        f, reference = UNARY[name]
        scalars = [reference(p) for p in a.scalars]
        return multiple() if is_large(scalars) else self.keep(f(a.tensor), scalars)

    @rule(target=variables, a=leaves | variables)
    def flip(self, a):
        return self.keep(a.tensor[::-1], [same(p) for p in reversed(a.scalars)])

    @rule(target=variables, a=leaves | variables)
    def total(self, a):
        return self.keep(tg.broadcast_to(a.tensor.sum(), (2,)), [a.scalars[0] + a.scalars[1] for _ in range(2)])

    @rule(target=variables, a=leaves | variables)
    def detach(self, a):
        return self.keep(a.tensor.detach(), [constant(p) for p in a.scalars])

    @rule(target=variables, name=st.sampled_from(sorted(BINARY)), a=leaves | variables, b=leaves | variables)
    def no_grad_island(self, name, a, b):
        f = BINARY[name]
        with tg.no_grad():
            y = f(a.tensor, b.tensor)
        return self.keep(y, [constant(f(p, q)) for p, q in zip(a.scalars, b.scalars)])

    @rule(name=st.sampled_from(sorted(WRITES)), a=variables, b=leaves | variables)
    def write(self, name, a, b):
        f = BINARY[name]
        scalars = [f(p, q) for p, q in zip(a.scalars, b.scalars)]
        if not is_large(scalars):
            WRITES[name](a.tensor, b.tensor)
            a.scalars = scalars

    @rule(a=variables, b=leaves | variables, i=st.integers(0, 1), j=st.integers(0, 1))
    def write_one(self, a, b, i, j):
        a.tensor[i] = b.tensor[j]
        new = [same(p) for p in a.scalars]
        new[i] = same(b.scalars[j])
        a.scalars = new

    @rule(y=variables, x=leaves | variables)
    def gradient_of_one(self, y, x):
        output = weighted(y)
        if y.tensor.requires_grad and x.tensor.requires_grad and paths(output) <= PATHS:
            (g,) = tg.grad(y.tensor, x.tensor, COTANGENT, retain_graph=True, allow_unused=True)
            self.compare(g, gradient_of(output, x))

    @rule(y=variables, create_graph=st.booleans())
    def gradients_of_everything(self, y, create_graph):
        output = weighted(y)
        if not y.tensor.requires_grad or paths(output) > (PATHS_TWICE if create_graph else PATHS):
            return
        xs = [x for x in self.all if x.tensor.requires_grad]
        found = tg.grad(y.tensor, [x.tensor for x in xs], COTANGENT, retain_graph=True, create_graph=create_graph,
                        allow_unused=True)
        for x, g in zip(xs, found):
            expected = gradient_of(output, x)
            self.compare(g, expected)
            if create_graph and g is not None and g.requires_grad:
                self.compare_second(g, expected, xs)

    def compare(self, g, expected):
        if g is None:
            assert all(e is ZERO for e in expected)
        else:
            assert np.allclose(g.data, [e.value for e in expected], rtol=1e-9, atol=1e-9)

    def compare_second(self, g, expected, xs):
        output = Scalar(COTANGENT[0]) * expected[0] + Scalar(COTANGENT[1]) * expected[1]
        if paths(output) <= PATHS:
            found = tg.grad(g, [x.tensor for x in xs], COTANGENT, retain_graph=True, allow_unused=True)
            for x, gg in zip(xs, found):
                self.compare(gg, gradient_of(output, x))

    @rule(y=variables)
    def backward(self, y):
        output = weighted(y)
        if not y.tensor.requires_grad or paths(output) > PATHS:
            return
        y.tensor.backward(COTANGENT, retain_graph=True)
        for x in self.all:
            if x.tensor.is_leaf and x.tensor.requires_grad:
                step = gradient_of(output, x)
                if any(e is not ZERO for e in step):
                    before = np.zeros(2) if x.expected_grad is None else x.expected_grad
                    x.expected_grad = before + [e.value for e in step]

    @invariant()
    def values_and_grads_agree(self):
        for x in self.all:
            assert np.allclose(x.tensor.data, [p.value for p in x.scalars], rtol=1e-12, atol=1e-12)
            if x.expected_grad is not None:
                assert np.allclose(x.tensor.grad.data, x.expected_grad, rtol=1e-9, atol=1e-9)
            elif x.tensor.grad is not None:
                assert not x.tensor.grad.data.any()     # reached as a whole, but through none of its numbers


test_random_graphs = Graphs.TestCase
test_random_graphs.settings = settings(deadline=None, stateful_step_count=20)


def test_the_reference_itself():
    x = Scalar(0.5)
    y = square(sin(x)) + x * x
    first = derivative(y, x)
    assert math.isclose(first.value, 2 * math.sin(0.5) * math.cos(0.5) + 1.0)
    assert math.isclose(derivative(first, x).value, 2 * math.cos(1.0) + 2)
    assert derivative(y, Scalar(0.5)) is ZERO and paths(x * x) == 3
