"""Floor 3: wrong backwards of ops/reduction.py, shape.py and indexing.py."""
import numpy as np

from ..ops import indexing as I, reduction as R, shape as S
from ..ops.elementwise import exp
from ..ops.linalg import matmul
from .mutants import check, constant, normal, wrong

_TWICE = np.array([0, 2, 0, 1])
_PLACES = np.array([[0, 0, 2], [1, 3, 3], [2, 2, 2]])

check("sum", lambda x: R.sum(x, axis=0), normal(3, 4))
check("mean", lambda x: R.mean(x, axis=0), normal(5, 3))
check("max", lambda x: R.max(x, axis=1), normal(3, 4))
check("max of x and x", lambda x: R.max(S.stack([x, x]), axis=0), normal(5))
check("cumsum", lambda x: R.cumsum(x, axis=1), normal(3, 4))
check("logsumexp", lambda x: R.logsumexp(x, axis=-1), normal(3, 4))
check("reshape", lambda x: S.reshape(x, 3, 4), normal(4, 3))
check("transpose", lambda x: S.transpose(x, 1, 2, 0), normal(3, 3, 3))
check("broadcast_to", lambda x: S.broadcast_to(x, (3, 4)), normal(4))
check("concatenate", lambda a, b: S.concatenate([a, b], axis=1), normal(2, 3), normal(2, 3))
check("pad", lambda x: S.pad(x, ((0, 2), (1, 1))), normal(2, 3))
check("flip", lambda x: S.flip(x, 0), normal(5))
check("roll", lambda x: S.roll(x, 1, 0), normal(5))
check("get_item", lambda x: I.get_item(x, _TWICE), normal(3, 2))
check("scatter_add", lambda x, v: I.scatter_add(x, _TWICE, v), normal(3, 2), normal(4, 2))
check("set_item", lambda x, v: I.set_item(x, slice(1, 3), v), normal(4, 2), normal(2))
check("set_item twice", lambda x, v: I.set_item(x, _TWICE, v), normal(3, 2), normal(4, 2))
check("take_along_axis", lambda x: I.take_along_axis(x, _PLACES, axis=1), normal(3, 4))


# ---------------------------------------------------------------- reductions

@wrong(R.Sum, "sum")
def sum_is_taken_for_mean(self, gy):
    """Divides by n."""
    gy = gy / R.count(self.shape, self.axis)
    return S.broadcast_to(gy.reshape(R.kept_shape(self.shape, self.axis)), self.shape)

@wrong(R.Sum, "sum")
def sum_does_not_spread(self, gy):
    """Gives the gradient in the shape of the output."""
    return gy

@wrong(R.Mean, "mean")
def mean_forgets_to_divide(self, gy):
    """Missing mean: 1 instead of 1 / n."""
    return S.broadcast_to(gy.reshape(R.kept_shape(self.shape, self.axis)), self.shape)

@wrong(R.Mean, "mean")
def mean_divides_by_all_elements(self, gy):
    """1 / size instead of 1 / (length of the axis)."""
    gy = gy / R.count(self.shape, None)
    return S.broadcast_to(gy.reshape(R.kept_shape(self.shape, self.axis)), self.shape)

@wrong(R.Max, "max")
def max_spreads_like_sum(self, gy):
    """Every element gets the gradient."""
    (largest,) = self.saved
    return gy.reshape(self.kept) * (largest | True)

@wrong(R.Max, "max of x and x")
def max_gives_ties_the_full_gradient(self, gy):
    """Two equal largest elements get the gradient twice."""
    (largest,) = self.saved
    return gy.reshape(self.kept) * largest

@wrong(R.CumulativeSum, "cumsum")
def cumsum_is_not_reversed(self, gy):
    """The running sum from the same end: transposed."""
    return R.cumsum(gy, self.axis)

@wrong(R.LogSumExp, "logsumexp")
def logsumexp_forgets_to_normalize(self, gy):
    """e^x instead of the softmax."""
    return gy.reshape(self.kept) * exp(self.saved[0])

@wrong(R.LogSumExp, "logsumexp")
def logsumexp_takes_y_for_a_constant(self, gy):
    """Second derivative without the part through y."""
    x, y = self.saved
    return gy.reshape(self.kept) * exp(x - constant(y).reshape(self.kept))


# ---------------------------------------------------------------- shapes

@wrong(S.Reshape, "reshape")
def reshape_goes_back_transposed(self, gy):
    """The right shape, the values in another order."""
    return S.transpose(gy).reshape(self.x_shape)

@wrong(S.Transpose, "transpose")
def transpose_repeats_its_order(self, gy):
    """The same order again instead of its inverse; no difference for two axes, only for a cycle of three."""
    return gy.transpose(self.axes)

@wrong(S.BroadcastTo, "broadcast_to")
def broadcast_to_does_not_sum(self, gy):
    """Missing sum over broadcast axis: gives the output's shape."""
    return gy

@wrong(S.BroadcastTo, "broadcast_to")
def broadcast_to_takes_the_mean(self, gy):
    """A mean over the repetitions instead of a sum."""
    return gy.mean(axis=0)

@wrong(S.Concatenate, "concatenate")
def concatenate_cuts_one_place_early(self, gy):
    """The second piece starts one place too early."""
    n = self.lengths[0]
    return gy[S.along(gy, self.axis, slice(0, n))], gy[S.along(gy, self.axis, slice(n - 1, n - 1 + self.lengths[1]))]

@wrong(S.Concatenate, "concatenate")
def concatenate_gives_all_the_first_piece(self, gy):
    """`start` is never moved on."""
    return tuple(gy[S.along(gy, self.axis, slice(0, n))] for n in self.lengths)

@wrong(S.Pad, "pad")
def pad_slices_from_the_corner(self, gy):
    """Forgets that the values begin after the border."""
    return gy[tuple(slice(0, s.stop - s.start) for s in self.middle)]

@wrong(S.Flip, "flip")
def flip_does_not_flip_back(self, gy):
    """Passes gy as it is."""
    return gy

@wrong(S.Roll, "roll")
def roll_goes_on_in_the_same_direction(self, gy):
    """Shifts by +shift again."""
    return S.roll(gy, self.shift, self.axis)


# ---------------------------------------------------------------- indices

@wrong(I.AddAt, "get_item", method="forward")
def get_item_keeps_the_last_of_repeated_places(self, x):
    """y[index] = x instead of y[index] += x: a place that was read twice gets one gradient."""
    y = self.xp.zeros(self.shape, dtype=x.dtype)
    y[self.index] = x
    return y

@wrong(I.AddAt, "scatter_add")
def scatter_add_reads_in_reverse(self, gy):
    """The gradient of the values arrives in reverse order."""
    return S.flip(gy[self.index], 0)

@wrong(I.AddAt, "get_item")
def get_item_is_wrong_to_second_order(self, gy):
    """First order right; the backward of its backward, AddAt's, is doubled."""
    return gy[self.index] * 2

@wrong(I.SetItem, "set_item")
def set_item_lets_the_overwritten_pass(self, gy):
    """The places that were overwritten still get a gradient."""
    return gy, gy[self.index].sum(axis=0)

@wrong(I.SetItem, "set_item twice")
def set_item_counts_lost_writes(self, gy):
    """Of two writes to one place the first is lost, and must get no gradient."""
    return I.set_item(gy, self.index, 0.0), gy[self.index]

@wrong(I.AddAlongAxis, "take_along_axis", method="forward")
def take_along_axis_loses_repeated_places(self, x):
    """Puts instead of adding."""
    y = self.xp.zeros(self.shape, dtype=x.dtype)
    np.put_along_axis(y, self.index, x, self.axis)
    return y

@wrong(I.TakeAlongAxis, "take_along_axis")
def take_along_axis_forgets_who_read(self, gy):
    """Every place gets the mean of its row's gradient."""
    n = self.shape[1]
    return matmul(gy, np.full((gy.shape[1], n), 1.0 / n, dtype=gy.dtype))
