"""Pooling, one number at a time; symbols as in kernels/pooling.py.

    M maps of H x W pixels   x, gx (M, H, W)   y, gy (M, OH, OW)   lengths: pixels that a mean is over, along each axis
    rows, columns: (size, kernel, stride, padding, count) of the windows along an axis
"""
from .. import pooling


def edges(i, windows):
    """Where window i begins and ends, inside the axis."""
    size, kernel, stride, padding, _ = windows
    start = i * stride - padding
    return max(start, 0), min(start + kernel, size)


def largest(x, rows, columns, y):
    M, OH, OW = y.shape
    for m in range(M):
        for i in range(OH):
            top, bottom = edges(i, rows)
            for j in range(OW):
                left, right = edges(j, columns)
                best = x[m, top, left]
                for h in range(top, bottom):
                    for w in range(left, right):
                        if x[m, h, w] > best or x[m, h, w] != x[m, h, w]:      # NaN is larger than everything
                            best = x[m, h, w]
                y[m, i, j] = best


def share_among_largest(x, y, rows, columns, gy, gx):
    M, OH, OW = y.shape
    for m in range(M):
        gx[m] = 0
        for i in range(OH):
            top, bottom = edges(i, rows)
            for j in range(OW):
                left, right = edges(j, columns)
                ties = 0
                for h in range(top, bottom):
                    for w in range(left, right):
                        ties += x[m, h, w] == y[m, i, j]
                for h in range(top, bottom):
                    for w in range(left, right):
                        if x[m, h, w] == y[m, i, j]:
                            gx[m, h, w] += gy[m, i, j] / ties


def mean(x, rows, columns, lengths, y):
    M, OH, OW = y.shape
    for m in range(M):
        for i in range(OH):
            top, bottom = edges(i, rows)
            for j in range(OW):
                left, right = edges(j, columns)
                total = x.dtype.type(0)
                for h in range(top, bottom):
                    for w in range(left, right):
                        total += x[m, h, w]
                y[m, i, j] = total / (lengths[0][i] * lengths[1][j])


def share_among_all(rows, columns, lengths, gy, gx):
    M, OH, OW = gy.shape
    for m in range(M):
        gx[m] = 0
        for i in range(OH):
            top, bottom = edges(i, rows)
            for j in range(OW):
                left, right = edges(j, columns)
                share = gy[m, i, j] / (lengths[0][i] * lengths[1][j])
                for h in range(top, bottom):
                    for w in range(left, right):
                        gx[m, h, w] += share


class MaxPool2d(pooling.MaxPool2d):
    """The face that runs these loops. Compiled they take twice as long as the arrays, so they are not."""

    def pool(self, x, y):
        largest(x, tuple(self.rows), tuple(self.columns), y)
        self.save(x, y)

    def undo(self, gy, gx):
        share_among_largest(*self.saved, tuple(self.rows), tuple(self.columns), gy, gx)


class AvgPool2d(pooling.AvgPool2d):
    """The face that runs these loops, not compiled either."""

    def pool(self, x, y):
        mean(x, tuple(self.rows), tuple(self.columns), self.lengths, y)

    def undo(self, gy, gx):
        share_among_all(tuple(self.rows), tuple(self.columns), self.lengths, gy, gx)


pooling.MaxPool2d.loops = MaxPool2d
pooling.AvgPool2d.loops = AvgPool2d
