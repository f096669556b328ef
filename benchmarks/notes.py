"""What was aimed at, and why a workload is slower than that. Written by hand; `python -m benchmarks table` prints it."""

# Ratio to PyTorch's eager mode with two threads: what the arrays were to reach. Set by sketches on a processor with AVX-512.
# With AVX2 NumPy's exp and tanh take several times as long; so the same code missed other rows there (2026-11-27_all.json).
TARGETS = {
    "tiny_ops": 0.45, "mlp_tiny": 0.40, "mlp_mnist": 1.2, "conv3x3": 2.0, "conv5x5": 1.9, "conv_stride2": 1.7,
    "conv1x1": 1.05, "lenet": 1.5, "lstm": 1.9, "gru": 0.9, "attention_128": 1.5, "attention_1024": 1.5,
    "layer_norm": 4.5, "batch_norm2d": 2.5, "cross_entropy_10": 0.3, "cross_entropy_5000": 1.0, "gelu": 1.4,
    "elementwise": 2.0, "max_pool": 0.75, "embedding": 1.4, "adam": 0.7, "gpt": 1.5, "unet": 1.8,
}
COMPILED_TARGETS = {"layer_norm": 1.2, "batch_norm2d": 1.2}
MEAN_TARGETS = {"arrays": 1.15, "compiled": 0.95}

# {workload: what its time is made of (BLAS, memory passes, Python), what was tried, and what that gave}
WHY = {
    "tiny_ops":
        "Python. NumPy's own calls are a fifth to a third of a forward and backward operation; the rest is the node "
        "(what made it, where, from what) and the checks of shape, dtype and overwritten arrays on the walk back. "
        "Looking for overwritten arrays only in nodes older than the last write gave a few percent; a tape without "
        "those guarantees reached 0.45.",
    "mlp_tiny":
        "Python, as in tiny_ops. One node for x W' + b instead of three took a fifth off; products that BLAS would not share "
        "go to it directly, another tenth; those of backward without a second walk through apply, a twentieth.",
    "mlp_mnist":
        "BLAS, at 130 to 160 GFLOP/s beside PyTorch's 140 to 170, and Adam: a dozen passes over 670,000 numbers, and one that "
        "joins the gradients. Going parameter by parameter instead gave nothing; the compiled loop is one pass. One node for "
        "x W' + b, whose gradient lies in the order of W, took a fifth off; larger blocks a sixth off Adam. Sharing products "
        "among our threads instead of OpenBLAS's costs 4 % here and saves a quarter of lenet and of unet; cutting them along "
        "their longer side, and the caller's part larger than its helper's, saves 4 % each.",
    "conv1x1":
        "Images are multiplied as they lie, without a copy; what is left is BLAS (64 x 64 times 64 x 1024, at 60 to 75 of the 100 "
        "GFLOP/s that a core reaches on large squares: lines of 4096 bytes meet in the same places of the cache) and the "
        "writing of y. One call for all images of a thread would save a twentieth. With AVX2 the same code took 0.98.",
    "cross_entropy_10":
        "Half is the kernel, for a maximum, an exponential and a sum of rows of ten numbers; Python's walk through loss and "
        "mean takes the rest. One maximum for all rows replaced NumPy's maximum of short rows, which cost more than all the "
        "rest of forward.",
    "cross_entropy_5000":
        "At the target within its noise: the exponential (0.6 ns a number with AVX-512, 2 with AVX2), the maximum of long rows "
        "and the passes over 20 MB. Saving p - one_hot, so that backward is one pass, and blocks shared by two threads brought "
        "it from 2.2; larger blocks, for which two threads hand over Python's lock less often, a tenth more; sums over a few "
        "long rows by dot, which lets go of that lock as matmul does not, 7 %.",
    "gelu":
        "NumPy has no erf: exp and copysign (0.5 ns a number each) and some twenty cheap passes (0.11 ns each) come to 3 ns, "
        "half of it for each of two threads; then 0.3 ms for the product of backward, which passes over 12 MB, and Python's "
        "lock, which two threads hand to each other at every call (5 us): blocks that would stay in the cache best need too "
        "many calls. Writing into scratch instead of new arrays, saving the slope and larger blocks brought it from 5.9 to 3.0; "
        "a fitted continued fraction in place of a polynomial, six passes fewer, to 2.6. Both polynomials of a quotient as one "
        "product with powers of x, signs by their bits, and one thread with small blocks gave less than a twentieth or "
        "nothing. The same fraction as a compiled loop takes four fifths of PyTorch's time.",
    "max_pool":
        "Most of it is backward: four strided comparisons (3.1 ns an output) and four strided writes (3.7 ns). Going through "
        "contiguous lines gave nothing; masks kept as floats, which NumPy multiplies twice as fast as bools, a tenth.",
    "embedding":
        "Arrays: sorting the ids, and passes over 5 MB of gradient, most of them zeros. Ids as short integers, and "
        "rounds of distinct rows instead of sums of runs, brought it from 5.5; adding each round to a slice, for ids lie "
        "ordered by how often they occur, a twentieth more. A product with one-hot rows wins only for very small "
        "vocabularies. The compiled loop is one pass.",
    "adam":
        "A dozen passes in blocks shared by two threads, and one that joins the gradients. Blocks of 131,072 numbers "
        "instead of half as many brought it from 0.71 to 0.59; later runs gave 0.67 to 0.87, with a spread of up to a half. "
        "One correction multiplied out saved a pass (5 %). The compiled loop is one pass and takes two fifths of PyTorch's "
        "time.",
    "lstm":
        "Of 32 ms BLAS takes 19 and tanh 4; the rest are a dozen small calls a step. Halves of the batch in two "
        "threads lose at N = 32 and win a third at N = 128.",
    "attention_1024":
        "Two exponentials a score (2.4 ns each) and five products (1.3 ns each).",
    "elementwise":
        "At the target within its noise: exp and tanh of NumPy, shared by two threads.",
    "layer_norm":
        "Some twenty passes, of which two threads do half each, and Python's lock at every call, as in gelu. NumPy's matmul "
        "keeps that lock for results of 500 numbers or fewer, such as the sums of 256 columns; with dot, which lets go of it, "
        "an eighth less. With one thread smaller blocks would fit the cache, but it took 6.2 ms instead of 3.7. Compiled it is "
        "one pass each way; of 0.55 ms, handing over to the second thread twice takes 0.1.",
    "lenet":
        "Convolution 75 %; of that BLAS two thirds, at 75 to 85 of the 100 GFLOP/s that a core reaches on large squares, "
        "copying windows a sixth. PyTorch's convolutions do not copy. Windows by gradients instead of gradients by windows took a "
        "quarter off the weights' gradient, and letting go of Python's lock in it (25 x 16 numbers are few, see layer_norm) 4 % "
        "off the step. Copying windows along lines only, and adding up one product for each line of the kernel, would save a "
        "twentieth of the step. Windows as rows instead of columns, of which BLAS would make more, gain as much as the "
        "transposition costs.",
    "unet":
        "Mostly convolution; of that BLAS two thirds, copying windows a sixth. Winograd's algorithm F(2 x 2, 3 x 3) needs "
        "2.25 times fewer multiplications, but its sums are passes of NumPy's, and it took as long (32 to 128 channels).",
}
