"""The kernels on a GPU, written by hand in CUDA C: one .cu file for each, and a face of the kernel that launches it.

A .cu file begins with what it computes and how it is launched. block.cuh has what they share, launch.py starts them. The
faces work on float32; what a kernel cannot take (other types, rows too long for its shared memory, masks) goes to the arrays.
"""
from . import attention, cross_entropy, embedding, normalization, recurrent, softmax  # noqa: F401
