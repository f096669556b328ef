"""Floor 1: the Tensor, an array that remembers where it came from.

    data            the array, NumPy's or CuPy's
    requires_grad   does anybody want the gradient with respect to it?
    grad            that gradient, a Tensor, filled in by backward()
    creator         the Function that made it (public name `grad_fn`); None for a leaf

Everything else, arithmetic and methods, is the library's functions under NumPy's names, attached in `ops/__init__.py`:
`x.sum(axis=0)` is `ops.sum(x, axis=0)`.

Writing into a Tensor (`y[i] = v`, `y += v`, `y.mul_(2)`) never changes an array: the Tensor moves on to a new array and a new
node, so whatever was computed from it before keeps its values and its gradients.
"""
import weakref

import numpy as np

from . import backend

default_dtype = np.dtype(np.float32)        # what Python floats become


class Tensor:
    """An array with a gradient. `Tensor(data)` copies `data`: nested lists, numbers, or an array of either library.

    Python floats become float32; arrays keep their dtype. It lies on `device` ("cpu", "cuda"; the default device if
    None). Only float tensors can require a gradient.
    """
    __slots__ = ("data", "grad", "requires_grad", "creator", "__weakref__")
    __array_ufunc__ = None                  # so that array + tensor asks the tensor

    def __init__(self, data, requires_grad=False, dtype=None, device=None):
        self.data = _new_array(data, dtype, device)
        self.grad, self.creator = None, None
        self.requires_grad = False
        if requires_grad:
            self.requires_grad_()

    def __init_subclass__(cls):
        cls.kind = cls

    @classmethod
    def _wrap(cls, array):
        """A Tensor around `array` itself, without a copy."""
        x = cls.__new__(cls)
        x.data, x.grad, x.requires_grad, x.creator = array, None, False, None
        return x

    # ------------------------------------------------------------ what it is

    @property
    def shape(self):
        return self.data.shape

    @property
    def ndim(self):
        return self.data.ndim

    @property
    def size(self):
        return self.data.size

    @property
    def dtype(self):
        return self.data.dtype

    @property
    def device(self):
        return backend.device_of(self.data)

    @property
    def grad_fn(self):
        return self.creator

    @property
    def is_leaf(self):
        return self.creator is None

    def __len__(self):
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __repr__(self):
        name = type(self).__name__
        values = np.array2string(backend.to_numpy(self.data), separator=", ", prefix=name + "(", threshold=60, edgeitems=3)
        facts = [f"shape={self.shape}", str(self.dtype)]
        if self.device != "cpu":
            facts.append(f"device={self.device}")
        if self.creator is not None:
            facts.append(f"grad_fn={self.creator.name}")
        elif self.requires_grad:
            facts.append("requires_grad=True")
        return f"{name}({values}, {', '.join(facts)})"

    # ------------------------------------------------------------ out of the graph

    def item(self):
        """The one value of a one-element tensor, as a Python number."""
        if self.size != 1:
            raise ValueError(f"item: the tensor has shape {self.shape}, expected one element")
        return self.data.item()

    def numpy(self):
        """The values as a numpy.ndarray (no copy on the CPU). A tensor in a graph must be detached first."""
        if self.requires_grad:
            raise RuntimeError("numpy: this tensor requires grad; call .detach().numpy()")
        return backend.to_numpy(self.data)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def tolist(self):
        return self.data.tolist()

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __index__(self):
        return self.data.__index__()

    def __bool__(self):
        if self.size != 1:
            raise ValueError(f"the truth value of a tensor of shape {self.shape} is ambiguous; use .any() or .all()")
        return bool(self.data)

    def __format__(self, spec):
        return format(self.item(), spec) if spec else repr(self)

    def detach(self):
        """The same values as a constant: a new Tensor on the same memory, outside the graph."""
        return self._wrapped_like(self.data[...])

    def copy(self):
        """The same values on memory of its own, outside the graph."""
        return self._wrapped_like(self.data.copy())

    def to(self, device):
        """This tensor on `device`, "cpu" or "cuda", outside the graph; itself if it is there already."""
        if backend.check_device(device) == self.device:
            return self
        y = self._wrapped_like(backend.to_device(self.data, device))
        y.requires_grad = self.requires_grad and self.is_leaf
        return y

    def __deepcopy__(self, memo):
        if self.creator is not None:
            raise RuntimeError("deepcopy: only leaves can be copied; this tensor was made by " + self.creator.name)
        y = type(self).__new__(type(self))
        y.data, y.grad, y.requires_grad, y.creator = self.data.copy(), None, self.requires_grad, None
        if hasattr(self, "__dict__"):
            y.__dict__.update(self.__dict__)
        memo[id(self)] = y
        return y

    def _wrapped_like(self, array):
        return self.kind._wrap(array)

    # ------------------------------------------------------------ gradients

    def requires_grad_(self, requires_grad=True):
        """Ask for this leaf's gradient, or stop asking. Returns the tensor."""
        if requires_grad and self.dtype.kind != "f":
            raise TypeError(f"requires_grad: only float tensors have gradients, got {self.dtype}")
        if not requires_grad and self.creator is not None:
            raise RuntimeError(f"requires_grad_(False): this tensor was made by {self.creator.name}; use detach()")
        self.requires_grad = requires_grad
        return self

    def retain_grad(self):
        """Keep the gradient of this interior tensor in `.grad` when backward passes it. Returns the tensor."""
        if self.creator is not None:
            self.creator.retained = weakref.ref(self)
        elif not self.requires_grad:
            raise RuntimeError("retain_grad: this tensor does not require grad")
        return self

    def zero_grad(self):
        """Forget the gradient."""
        self.grad = None

    __hash__ = object.__hash__              # == compares elements, so identity is the hash


Tensor.kind = Tensor                        # the class of a result; Parameter sets it back to Tensor


def _new_array(data, dtype, device):
    """A fresh array with the values of `data` on the device."""
    if isinstance(data, Tensor):
        data = data.data
    if not backend.is_array(data):
        try:
            host = np.array(data)
        except ValueError as error:
            raise ValueError(f"Tensor: expected numbers or equally long nested lists of them ({error})") from error
        data = host.astype(default_dtype) if host.dtype == np.float64 and not isinstance(data, np.generic) else host
    if data.dtype.kind not in "biuf":
        raise TypeError(f"Tensor: expected real numbers, got dtype {data.dtype}")
    moved = backend.to_device(data, device)
    return moved.astype(dtype or moved.dtype, copy=True)


def as_tensor(x):
    """`x` itself if it is a Tensor, else `Tensor(x)`."""
    return x if isinstance(x, Tensor) else Tensor(x)
