"""Floor 2: the primitives, each file a table of derivatives. Here they meet the Tensor: its methods are these functions."""
from ..tensor import Tensor
from . import elementwise, indexing, inplace, linalg, reduction, shape
from .elementwise import (absolute, add, arctan, cast, clip, cos, divide, equal, erf, exp, expm1, floor, greater,
                          greater_equal, isfinite, isnan, less, less_equal, log, log1p, logaddexp, maximum, minimum,
                          multiply, negative, not_equal, power, relu, round, sigmoid, sign, sin, sqrt, square, subtract,
                          tanh, where)
from .indexing import (argsort, diagonal, gather, get_item, one_hot, scatter_add, set_item, sort,
                       take_along_axis, topk, tril, triu)
from .linalg import (cholesky, eigh, einsum, inverse, matmul, outer, qr, slogdet, solve, solve_triangular, svd, trace)
from .reduction import (all, any, argmax, argmin, cumprod, cumsum, log_softmax, logsumexp, max, mean, min, prod, softmax,
                        std, sum, var)
from .shape import (broadcast_to, concatenate, expand_dims, flatten, flip, moveaxis, pad, repeat, reshape, roll, split,
                    squeeze, stack, swapaxes, tile, transpose)
from .window import fold, unfold

__all__ = [name for name, value in list(globals().items()) if callable(value) and name != "Tensor"]


# ---------------------------------------------------------------- operators

Tensor.__add__ = add
Tensor.__radd__ = lambda x, y: elementwise.Add().apply(y, x)
Tensor.__sub__ = subtract
Tensor.__rsub__ = lambda x, y: elementwise.Subtract().apply(y, x)
Tensor.__mul__ = multiply
Tensor.__rmul__ = lambda x, y: elementwise.Multiply().apply(y, x)
Tensor.__truediv__ = divide
Tensor.__rtruediv__ = lambda x, y: elementwise.Divide().apply(y, x)
Tensor.__matmul__ = matmul
Tensor.__rmatmul__ = lambda x, y: matmul(y, x)
Tensor.__pow__ = power
Tensor.__rpow__ = lambda x, y: power(y, x)
Tensor.__neg__ = negative
Tensor.__abs__ = absolute
Tensor.__getitem__ = get_item
Tensor.__setitem__ = inplace.setitem

Tensor.__eq__, Tensor.__ne__ = equal, not_equal
Tensor.__lt__, Tensor.__le__ = less, less_equal
Tensor.__gt__, Tensor.__ge__ = greater, greater_equal
Tensor.__invert__ = lambda x: elementwise.constant(x, lambda data: ~data)
Tensor.__and__ = lambda x, y: elementwise.constant(x, lambda data: data & elementwise.array_of(y))
Tensor.__or__ = lambda x, y: elementwise.constant(x, lambda data: data | elementwise.array_of(y))

Tensor.__iadd__ = Tensor.add_ = inplace.add_
Tensor.__isub__ = Tensor.sub_ = inplace.sub_
Tensor.__imul__ = Tensor.mul_ = inplace.mul_
Tensor.__itruediv__ = Tensor.div_ = inplace.div_
Tensor.copy_ = inplace.copy_


# ---------------------------------------------------------------- methods

for _function in (exp, log, sqrt, square, tanh, sigmoid, relu, clip, absolute, sin, cos, sum, mean, var, std, max, min, prod,
                  cumsum, cumprod, logsumexp, softmax, log_softmax, argmax, argmin, any, all, argsort, reshape, transpose, swapaxes, expand_dims,
                  squeeze, flatten, broadcast_to, flip, roll):
    setattr(Tensor, _function.__name__, _function)
Tensor.abs = absolute
Tensor.astype = cast
Tensor.T = property(transpose)
