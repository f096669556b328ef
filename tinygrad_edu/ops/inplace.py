"""Writing into a Tensor. The Tensor moves on to a new array and a new node; arrays that the graph saved never change.

Only a leaf that requires grad is written in place, and only under `no_grad()`: that is what an optimizer does.
"""
from .. import autograd
from ..autograd import mark_written
from ..tensor import Tensor
from .elementwise import add, divide, multiply, subtract
from .indexing import set_item


def assign(x, function, *arguments):
    """Let `x` stand for `function(old x, *arguments)` from now on. Shape and dtype must stay. Returns x."""
    if x.requires_grad and x.creator is None and autograd.is_grad_enabled():
        raise RuntimeError("in-place write into a leaf that requires grad; use a new tensor, or no_grad() for an update")
    old = Tensor._wrap(x.data)
    old.requires_grad, old.creator = x.requires_grad, x.creator
    y = function(old, *arguments)
    if y.shape != x.shape:
        raise ValueError(f"in-place write: the result has shape {y.shape}, the tensor has {x.shape}")
    if y.dtype.kind == "f" and x.dtype.kind != "f":
        raise TypeError(f"in-place write: the result is {y.dtype}, the tensor {x.dtype} cannot hold it")
    if y.dtype != x.dtype:
        y = y.astype(x.dtype)

    if x.requires_grad and x.creator is None:
        x.data[...] = y.data
        mark_written(x.data)
    else:
        x.data, x.creator, x.requires_grad = y.data, y.creator, y.requires_grad
    return x

def setitem(x, index, value):
    """x[index] = value"""
    assign(x, set_item, index, value)

def add_(x, y):
    """x += y"""
    return assign(x, add, y)

def sub_(x, y):
    """x -= y"""
    return assign(x, subtract, y)

def mul_(x, y):
    """x *= y"""
    return assign(x, multiply, y)

def div_(x, y):
    """x /= y"""
    return assign(x, divide, y)

def copy_(x, y):
    """Take over the values of y, broadcast to x's shape."""
    return assign(x, set_item, Ellipsis, y)
