"""The checker itself: what is right passes, what is wrong is named with its place and cause, and a kink is found."""
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Elementwise, Function, Tensor, functional as F
from tinygrad_edu.testing import (GradientError, KinkError, adjoint_test, derivative_errors, gradcheck, gradgradcheck,
                                  numerical_gradient)
from tinygrad_edu.bughunt import mutants
from tinygrad_edu.testing import laws

RNG = np.random.default_rng(0)
A, B, V = RNG.standard_normal((3, 4)), RNG.standard_normal((4, 2)), RNG.standard_normal(4)
P = RNG.uniform(0.5, 2, (3, 4))


def failure(function, *inputs, **options):
    with pytest.raises(GradientError) as caught:
        gradcheck(function, *inputs, **options)
    return caught.value


# ---------------------------------------------------------------- what is right passes

@pytest.mark.parametrize("function, inputs", [
    (tg.multiply, (A, V)), (tg.divide, (A, P)), (tg.matmul, (A, B)), (tg.tanh, (A,)), (tg.tanh, (0.3,)),
    (tg.prod, (A,)), (tg.tanh, (np.zeros((0, 3)),)), (tg.square, (np.zeros(3),)), (tg.floor, (A,)),
    (tg.tanh, (A[:, ::-2].T,)),
    (lambda x, w: F.layer_norm(x, 4, w), (A, V)), (lambda a, b: (a + b, a * b), (A, V)),
    (lambda x: tg.topk(x, 2), (A,)), (lambda x, i: x[i], (A, np.array([0, 0, 2]))),
    (lambda x, i: tg.exp(x) ** i, (A, 3)), (lambda a, b: a * 2, (A, V)), (lambda x: x - x, (A,)),
], ids=str)
def test_right_functions_pass(function, inputs):
    report = gradcheck(function, *inputs, order=2)
    assert report.error < 1e-8 and report.kinks == [] and report.float32 == ""

def test_third_order():
    assert gradcheck(tg.tanh, V, order=3).error < 1e-8

def test_sizes_far_from_one():
    assert gradcheck(tg.square, 1e6 * A).error < 1e-6 and gradcheck(tg.log, 1e-4 * P).error < 1e-6
    assert gradcheck(lambda x: 1e-9 * tg.sin(x), A).error < 1e-6

def test_a_small_operand_is_not_drowned_by_a_large_one():
    class Drowned(Elementwise):
        def forward(self, a, b):
            return 1e8 * a + b
        def backward(self, gy):
            return 1e8 * gy, 2 * gy
    assert failure(lambda a, b: Drowned().apply(a, b), A, A).operand == 1

def test_tensors_are_taken_as_arrays_are():
    x = Tensor(A, requires_grad=True)
    gradcheck(tg.exp, x)
    assert x.grad is None

def test_a_users_own_parameters_are_left_alone():
    weight = Tensor(B, requires_grad=True)
    report = gradcheck(lambda x: x @ weight, A)
    assert weight.grad is None and "MatMul" in report.float32 and "meets a constant of float64" in report.float32

def test_the_same_seed_gives_the_same_report():
    assert gradcheck(tg.exp, A, seed=3) == gradcheck(tg.exp, A, seed=3) != gradcheck(tg.exp, A, seed=4)


# ---------------------------------------------------------------- what cannot be checked is refused

def test_float32_is_refused_by_operand():
    with pytest.raises(TypeError, match="operand 1 is float32, expected float64"):
        gradcheck(tg.multiply, A, V.astype("float32"))

def test_other_refusals():
    with pytest.raises(TypeError, match="at least one float64 operand"):
        gradcheck(tg.exp, np.arange(3))
    with pytest.raises(TypeError, match="must return a Tensor"):
        gradcheck(lambda x: np.exp(x.data), A)
    with pytest.raises(ValueError, match="two values at one point"):
        gradcheck(lambda x: F.dropout(x, 0.5), A)
    with pytest.raises(ValueError, match="not finite"):
        gradcheck(tg.log, np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="'raise' or 'skip'"):
        gradcheck(tg.exp, A, kinks="ignore")


# ---------------------------------------------------------------- kinks

@pytest.mark.parametrize("function, value", [(tg.relu, 0.0), (tg.absolute, 0.0), (tg.sqrt, 0.0), (tg.floor, 1.0),
                                             (lambda x: tg.clip(x, -1, 2), 2.0), (lambda x: tg.maximum(x, 0.7), 0.7)])
def test_a_kink_is_found_located_and_can_be_skipped(function, value):
    x = P.copy()
    x[1, 2] = value
    with pytest.raises(KinkError, match=r"operand 0, index \(1, 2\)"):
        gradcheck(function, x)
    order = 1 if function is tg.sqrt else 2                 # the root's derivative is infinite there
    assert gradcheck(function, x, kinks="skip", order=order).kinks == [(0, (1, 2))]

def test_a_tie_is_a_kink():
    x = A.copy()
    x[1, 1] = x[1, 3] = 5.0
    with pytest.raises(KinkError, match=r"index \(1, 1\)"):
        gradcheck(lambda x: tg.max(x, axis=1), x)
    assert gradcheck(lambda x: tg.max(x, axis=1), x, kinks="skip").kinks == [(0, (1, 1)), (0, (1, 3))]

def test_a_kink_of_the_gradient_is_found_at_second_order():
    x = np.array([-1.0, 0.0, 2.0])
    gradcheck(lambda x: x * tg.relu(x), x)
    with pytest.raises(KinkError, match=r"gradient of .*index \(1,\)"):
        gradcheck(lambda x: x * tg.relu(x), x, order=2)

@pytest.mark.parametrize("distance", [1e-2, 1e-3, 1e-4, 1e-5])
def test_near_a_kink_the_step_is_chosen_to_stay_on_one_side(distance):
    assert gradcheck(tg.relu, np.array([distance, -distance, 1.0])).error < 1e-6


# ---------------------------------------------------------------- causes

class Broken(Function):
    """A linear layer y = mean over the batch of x W; `mistake` changes the gradient of W."""
    def __init__(self, mistake):
        self.mistake = mistake
    def forward(self, x, w):
        self.save(x, w)
        return (x @ w).mean(axis=0)
    def backward(self, gy):
        x, w = self.saved
        gw = x.mean(axis=0).reshape(-1, 1) * gy.reshape(1, -1)
        return (gy @ w.swapaxes(0, 1)).reshape(1, -1) * np.full((len(x), 1), 1 / len(x), x.dtype), self.mistake(gw)

@pytest.mark.parametrize("mistake, cause", [
    (lambda g: g * 8, "off by exactly 8, the batch size (length of axis 0 of the operand): missing mean?"),
    (lambda g: -g, "sign"), (lambda g: g.swapaxes(0, 1), "transposed"), (lambda g: g * 2, "off by exactly 2: a square"),
    (lambda g: g[::-1], "flipped along axis 0"), (lambda g: g * 1.5, "constant factor 1.5"),
    (lambda g: g * 0, "nothing arrives"), (lambda g: g / 8, "off by exactly 1/8"),
    (lambda g: g[:-1], "another operand"),
    (lambda g: g * float("nan"), "NaN"),
])
def test_the_cause_is_named(mistake, cause):
    x, w = RNG.standard_normal((8, 8)), RNG.standard_normal((8, 8))
    gradcheck(lambda x, w: Broken(lambda g: g).apply(x, w), x, w)
    error = failure(lambda x, w: Broken(mistake).apply(x, w), x, w)
    assert cause in error.cause and error.cause in str(error)
    assert error.operand == 1 or error.check == "engine"

def test_a_missing_sum_over_a_broadcast_axis():
    with mutants.planted(mutants.MUTANTS["sum_to_takes_the_first_slice"]):
        error = failure(tg.multiply, A, V)
        assert error.operand == 1 and "missing sum over broadcast axis 0" in error.cause
    with mutants.planted(mutants.MUTANTS["add_does_not_sum_back"]):
        assert failure(tg.add, A, V).cause == "missing sum over broadcast axis"

def test_the_message_names_operand_index_and_both_values():
    class OneWrong(Elementwise):
        def forward(self, a, b):
            return a + b
        def backward(self, gy):
            spoiled = np.ones(gy.shape)
            spoiled[2, 1] = 3
            return gy, gy * spoiled
    error = failure(lambda a, b: OneWrong().apply(a, b), A, P)
    assert (error.operand, error.index, error.check) == (1, (2, 1), "order 1")
    assert "operand 1, index (2, 1): backward gives" in str(error) and "only 1 of 12 elements" in error.cause

def test_a_cut_graph_is_found():
    assert "detach" in failure(lambda x: tg.exp(x.detach()) + 0 * x, A).cause
    assert "detach" in failure(lambda x: tg.exp(x.detach()), A).cause

def test_one_wrong_element_of_a_large_operand_is_found():
    class LastWrong(Elementwise):
        def forward(self, x):
            return x * 2.0
        def backward(self, gy):
            return gy * (2 + (np.arange(gy.size) == 4321).reshape(gy.shape))
    assert failure(lambda x: LastWrong().apply(x), RNG.standard_normal((100, 100))).operand == 0


# ---------------------------------------------------------------- second order, second witness, laws

@pytest.mark.parametrize("name", ["log_takes_x_for_a_constant", "tanh_takes_y_for_a_constant",
                                  "layer_norm_has_another_definition", "cross_entropy_has_another_definition"])
def test_a_mistake_of_second_order_only(name):
    mutant = mutants.MUTANTS[name]
    check = mutants.CHECKS[mutant.checks[0]]
    with mutants.planted(mutant):
        with pytest.raises(GradientError) as caught:
            gradgradcheck(check.function, *check.inputs)
        assert caught.value.check in ("order 2", "adjoint")
        leaf = [Tensor(x, requires_grad=True) for x in check.inputs]
        y = check.function(*leaf)
        u = RNG.standard_normal(y.shape)
        (g,) = tg.grad(y, leaf, Tensor(u))
        right = numerical_gradient(check.function, *check.inputs, cotangents=[u])
        assert np.allclose(g.data, right, rtol=1e-7, atol=1e-9)
    gradgradcheck(check.function, *check.inputs)

def test_ones_hide_a_bug_that_a_random_cotangent_finds():
    def batch_norm(x):
        return F.batch_norm(x)
    x = RNG.standard_normal((6, 3))
    with mutants.planted(mutants.MUTANTS["batch_norm_forgets_the_variance"]):
        leaf = Tensor(x, requires_grad=True)
        batch_norm(leaf).sum().backward()
        assert abs(leaf.grad.data - numerical_gradient(batch_norm, x)).max() < 1e-9        # ones: seems right
        assert failure(batch_norm, x).check == "order 1"
    gradcheck(batch_norm, x, order=2)

def test_the_second_witness_sees_what_is_not_linear():
    class Clipped(Elementwise):
        def forward(self, x):
            return x * 1.0
        def backward(self, gy):
            return tg.clip(gy, -1.0, 1.0)
    assert failure(lambda x: Clipped().apply(x), A).check == "order 1"
    assert failure(lambda x: Clipped().apply(x), np.array([0.3, 0.4]), seed=2).check == "adjoint"    # |u| < 1

def test_a_function_without_a_second_derivative_is_checked_to_first_order_and_says_so():
    class Once(Elementwise):
        def forward(self, x):
            t = np.tanh(x)
            self.save(t)
            return t * 2.0
        def backward(self, gy):
            return gy * 2.0 * (1 - self.saved[0] * self.saved[0])
    assert "cannot be differentiated again" in gradcheck(lambda x: Once().apply(x), A).adjoint
    assert failure(lambda x: Once().apply(x), A, order=2).check == "engine"

def test_a_gradient_in_the_memory_of_a_saved_array_is_an_alias():
    class HalfSquare(Function):
        def forward(self, x):
            self.save(x)
            return np.asarray((x * x).sum() / 2)
        def backward(self, gy):
            return self.saved[0]                            # right for gy = 1, but it is x itself
    y = HalfSquare().apply(Tensor(V, requires_grad=True))
    with pytest.raises(GradientError, match="gives the memory of saved array 0"), laws.watched([y], "test"):
        y.backward()

def test_a_forward_that_writes_into_its_input():
    class Greedy(Elementwise):
        def forward(self, x):
            x[x < 0] = 0                                    # a second call changes nothing more
            self.save(x > 0)
            return x * 1.0
        def backward(self, gy):
            return gy * self.saved[0]
    assert failure(lambda x: Greedy().apply(x), A.copy()).check == "law: mutation"

def test_float64_in_float32_is_a_broken_law_only_if_the_op_made_it():
    assert failure(lambda x: tg.multiply(Wide().apply(x), 1.0), A).check == "law: dtype"
    report = gradcheck(lambda x: x * P, A)
    assert "meets a constant of float64" in report.float32

class Wide(Elementwise):
    def forward(self, x):
        return x * np.float64(3)
    def backward(self, gy):
        return gy * 3


# ---------------------------------------------------------------- the smaller tools

def test_adjoint_test():
    adjoint_test(lambda x: A @ x, lambda y: A.T @ y, 4, 3)
    adjoint_test(lambda x: x.sum(axis=0), lambda g: np.broadcast_to(g, (3, 4)), (3, 4), (4,))
    with pytest.raises(GradientError, match="adjoint_test"):
        adjoint_test(lambda x: A[:, :3] @ x, lambda y: A[:, :3] @ y, 3, 3)

def test_numerical_gradient():
    assert abs(numerical_gradient(tg.tanh, A) - (1 - np.tanh(A) ** 2)).max() < 1e-11
    u = RNG.standard_normal((3, 2))
    assert abs(numerical_gradient(tg.matmul, A, B, operand=1, cotangents=[u]) - A.T @ u).max() < 1e-10

def test_the_error_over_the_step_is_a_v():
    steps = 10.0 ** -np.arange(1, 13, 0.5)
    errors = derivative_errors(tg.tanh, A, steps)
    best = errors.argmin()
    assert 6e-7 < steps[best] < 6e-5 and errors[best] < 1e-8
    assert errors[0] > 1e4 * errors[best] and errors[-1] > 1e4 * errors[best]
    slope = np.log10(errors[0] / errors[4]) / 2                                    # two decades of step
    assert abs(slope - 2) < 0.1                                                    # truncation is h^2

def test_testing_needs_no_hypothesis():
    program = ("import sys; sys.modules['hypothesis'] = None\nimport tinygrad_edu.testing\n"
               "try:\n    import tinygrad_edu.testing.strategies\nexcept ImportError as error:\n    print(error)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "tinygrad-edu[test]" in done.stdout
