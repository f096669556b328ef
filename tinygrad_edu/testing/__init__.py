"""Floor 3: is a gradient right? For the library's own functions and for yours.

    gradcheck            first order (and `order=2`): differences, the adjoint dot test, mutation, aliasing, dtype
    gradgradcheck        second order only
    adjoint_test         are two linear functions of arrays each other's transpose?
    numerical_gradient   element by element by differences;  derivative_errors: the V over the step size
    strategies           what to check on: Hypothesis strategies (import it by name; needs the extra `test`)
"""
from .diagnose import GradientError, KinkError
from .gradcheck import Report, adjoint_test, gradcheck, gradgradcheck
from .numeric import derivative_errors, numerical_gradient

__all__ = ["GradientError", "KinkError", "Report", "adjoint_test", "derivative_errors", "gradcheck", "gradgradcheck",
           "numerical_gradient"]
