"""Every face of a kernel against the composition that defines it."""
import numpy as np

import tinygrad_edu as tg
from tinygrad_edu import Tensor, faces

CLOSE = dict(rtol=1e-10, atol=1e-10)
FACES = ["arrays", "loops"] + ["compiled"] * faces.has_numba()


def draw_array(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def equals_definition(function, *arrays, **tolerance):
    """Value, gradients and double gradients of function(*arrays) on every face, in the same random directions."""
    definition = all_orders("reference", function, arrays)
    for face in FACES:
        for ours, theirs in zip(all_orders(face, function, arrays), definition, strict=True):
            np.testing.assert_allclose(ours, theirs, **(tolerance or CLOSE), err_msg=f"face {face!r}")


def all_orders(face, function, arrays):
    with tg.kernel_face(face):
        xs = [Tensor(a, requires_grad=True) for a in arrays]
        y = function(*xs)
        gy = Tensor(draw_array(1, *y.shape).astype(y.dtype))
        gxs = tg.grad(y, xs, gy, retain_graph=True)
        graphs = tg.grad(y, xs, gy, create_graph=True)
        scalar = sum((g * Tensor(draw_array(2 + i, *g.shape).astype(g.dtype))).sum() for i, g in enumerate(graphs))
        ggxs = tg.grad(scalar, xs, allow_unused=True) if scalar.requires_grad else [None] * len(xs)
    return [y.data, *(g.data for g in gxs), *(np.zeros(x.shape, x.dtype) if g is None else g.data for g, x in zip(ggxs, xs))]
