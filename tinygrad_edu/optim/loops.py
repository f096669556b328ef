"""Adam once more, one number at a time: compiled by numba (the extra `fast`), 3 times as fast as the rule on arrays."""
import numpy as np

from ..faces import prange


def adam(w, g, m, v, b1, c1, b2, c2, lr, root, eps, decay):
    """c1 = 1 - b1, c2 = 1 - b2; lr and root hold the corrections for starting at zero."""
    for i in prange(len(w)):
        g_i = g[i] + decay * w[i]
        m[i] = b1 * m[i] + c1 * g_i
        v[i] = b2 * v[i] + c2 * g_i * g_i
        w[i] -= lr * m[i] / (root * np.sqrt(v[i]) + eps)
