"""e^x for float32 by additions and multiplications alone, which a processor does on eight numbers at once.

    (1)  x = n ln 2 + r,  n whole,  |r| <= ln 2 / 2     (2)  e^r = 1 + r + r^2 p(r)     (3)  e^x = 2^n e^r

(1) ln 2 is taken away in two pieces, the first so short that n times it is exact. (2) p is the polynomial of degree 4 with the
smallest relative error, 3e-9: least squares, the weights multiplied by the errors again and again (Lawson 1961). (3) A
float32 keeps its exponent, plus 127, in the bits above the lowest 23.

The answer is right to 3e-7; below e^-87 and above e^88 it stands still. The compiler knows an exponential too, but takes the
numbers one by one, which is 25 times as slow. (Compiled loops are kept on disk by the date of their own file: after a
change here, empty the __pycache__ beside it.)
"""
import numpy as np

ONE, HALF, LOWEST, HIGHEST = map(np.float32, (1, 0.5, -87, 88))
PER_LN2, LN2, LN2_REST = map(np.float32, (1.4426950408889634, 0.693359375, -2.1219444005469057e-4))
P4, P3, P2, P1, P0 = map(np.float32, (0.00138145986, 0.00836871691, 0.0416683880, 0.166665206, 0.499999934))
BIAS, BITS = np.int32(127), np.int32(23)


def exp(x):
    x = min(max(x, LOWEST), HIGHEST)
    n = np.floor(x * PER_LN2 + HALF)                                        # (1)
    r = x - n * LN2 - n * LN2_REST
    p = P0 + r * (P1 + r * (P2 + r * (P3 + r * P4)))                        # (2)
    return (ONE + r + r * r * p) * np.int32((np.int32(n) + BIAS) << BITS).view(np.float32)      # (3)
