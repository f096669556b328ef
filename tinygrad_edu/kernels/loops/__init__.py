"""The kernels once more, as plain loops over single numbers. One page each; run any of them on a tiny input in a debugger:

    with kernel_face("loops"):
        F.layer_norm(x, 4).sum().backward()

A file holds two functions, forward and backward, which write into arrays that they are given, and the face of the kernel that
calls them. With numba installed (the extra `fast`) the same functions are compiled, where that beats the arrays; see faces.py.
"""
from . import (activations, attention, convolution, cross_entropy, embedding, group_norm, group_norm_silu, lstm,
               normalization, pooling, softmax)
