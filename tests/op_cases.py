"""What the operations are tried on: Hypothesis strategies of cases.

A case is (arrays, options): the operands in float64, in any memory layout, and everything else by keyword. Points where a
function has a kink or a tie are kept away from by construction.
"""
import math

import numpy as np
from hypothesis import strategies as st

from tinygrad_edu.testing.strategies import (arrays, axes, broadcastable_shapes, conv_geometries, index_expressions,
                                             layouts, shapes)

positive, nonzero = (0.3, 3), (0.4, 2)                      # domains
reductions = st.sampled_from(["mean", "sum", "none"])


def of(shape, domain=(-2, 2), **options):
    """An array of this shape (None: of any, 0-d and empty too) in any memory layout."""
    return arrays(shape, domain, **options).flatmap(lambda x: layouts(x) if x.ndim else st.just(x))

def case(*operands, **options):
    """A case made of strategies; an option may also be a constant."""
    options = {k: v if isinstance(v, st.SearchStrategy) else st.just(v) for k, v in options.items()}
    return st.tuples(st.tuples(*operands), st.fixed_dictionaries(options))

def an_axis(shape):
    return st.integers(-len(shape), len(shape) - 1)

def with_length(shape, axis, n):
    """`shape` with n in one place."""
    shape = list(shape)
    shape[axis] = n
    return tuple(shape)


# ---------------------------------------------------------------- one operand, two, three

def unary(domain=(-2, 2), away=(), **options):
    """One operand of any shape, with nothing near the values in `away`."""
    return case(of(None, domain, away_from=away), **options)

def shaped(options=lambda shape: {}, min_axes=0, max_axes=3, empty=True, **kind):
    """One operand, and a dict of options made from its shape."""
    return shapes(min_axes, max_axes, empty).flatmap(lambda s: case(of(s, **kind), **options(s)))

def equal_shapes(n=2, **options):
    """`n` operands of one shape, not empty."""
    return shapes(empty=False).flatmap(lambda s: case(*[of(s)] * n, **options))

def broadcast(*domains):
    """Operands that broadcast together, one for each domain (two if none is given)."""
    domains = domains or ((-2, 2), (-2, 2))
    return broadcastable_shapes(len(domains)).flatmap(lambda all: case(*map(of, all, domains)))

@st.composite
def untied(draw, equal=False):
    """Two operands that broadcast together and are nowhere close: one lies near integers, the other near halves."""
    (a, b), _ = draw(equal_shapes() if equal else broadcast())
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    near = [np.asarray(rng.integers(-2, 3, x.shape) + x / 10) for x in (a, b)]
    return (near[0], np.asarray(near[1] + 0.5)), {}

@st.composite
def choices(draw):
    """Two operands and a condition, all three broadcast."""
    a, b, condition = draw(broadcastable_shapes(3))
    return (draw(of(a)), draw(of(b))), dict(condition=np.asarray(draw(arrays(condition)) > 0))

def rounded(cases):
    """The same operands, rounded: many are equal."""
    return cases.map(lambda c: (tuple(np.asarray(np.rint(x)) for x in c[0]), c[1]))

def with_strange_values():
    """One operand with infinities and NaNs in it."""
    return of(None).map(lambda x: ((np.where(x > 1, np.nan, np.where(x < -1, np.inf, x)),), {}))


# ---------------------------------------------------------------- reductions and shapes

@st.composite
def along(draw, least=0, single=False, domain=(-2, 2), distinct=False, keepdims=True, **options):
    """An operand and an `axis` that it has (`single`: one int; else also None or several), with at least `least` values for
    each result. `keepdims`: draw this option too."""
    shape = draw(shapes(1 if single or least > 1 else 0))
    axis = draw(an_axis(shape) if single else axes(len(shape)))
    for a in range(len(shape)) if axis is None else (axis,) if isinstance(axis, int) else axis:
        shape = with_length(shape, a, max(shape[a], least))
    if keepdims and draw(st.booleans()):
        options["keepdims"] = True
    return draw(case(of(shape, domain, distinct=distinct), axis=axis, **options))

def new_shapes(shape):
    """Other shapes for the same values."""
    size = math.prod(shape)
    unknown = [(-1,), shape[:1] + (-1,)] if size else []
    return dict(shape=st.sampled_from([(size,), shape[::-1], (1,) + shape, shape + (1,)] + unknown))

def larger_shapes(shape):
    """Shapes that `shape` broadcasts to."""
    repeats = st.tuples(*[st.integers(1, 3) if n == 1 else st.just(n) for n in shape])
    return dict(shape=st.tuples(shapes(0, 2), repeats).map(lambda s: s[0] + s[1]))

@st.composite
def thin(draw):
    """An operand with length 1 along `axis`."""
    shape = draw(shapes(1))
    axis = draw(an_axis(shape))
    return (draw(of(with_length(shape, axis, 1))),), dict(axis=axis)

@st.composite
def cuts(draw):
    """An operand, an axis, and how to cut it: in so many equal sections, or in sections of these lengths."""
    shape = draw(shapes(1))
    axis, lengths = draw(an_axis(shape)), draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    equal = draw(st.booleans())
    n = len(lengths) * lengths[0] if equal else sum(lengths)
    return (draw(of(with_length(shape, axis, n))),), dict(sections=len(lengths) if equal else lengths, axis=axis)

@st.composite
def neighbours(draw):
    """One to three operands that fit side by side along `axis`."""
    shape = draw(shapes(1))
    axis, lengths = draw(an_axis(shape)), draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    return draw(case(*[of(with_length(shape, axis, n)) for n in lengths], axis=axis))

def layers():
    """One to three operands of one shape, and an axis of the result that has one more."""
    return st.tuples(shapes(), st.integers(1, 3)).flatmap(
        lambda s: case(*[of(s[0])] * s[1], axis=st.integers(-len(s[0]) - 1, len(s[0]))))

@st.composite
def borders(draw):
    """An operand and `widths` that the mode allows."""
    mode = draw(st.sampled_from(("constant", "reflect", "replicate", "circular")))
    x = draw(of(shapes(empty=mode == "constant")))
    most = [min(2, n - 1) if mode == "reflect" else 2 for n in x.shape]
    widths = tuple((draw(st.integers(0, m)), draw(st.integers(0, m))) for m in most)
    return (x,), dict(widths=widths, mode=mode, value=draw(st.sampled_from((0.0, 0.5))))


@st.composite
def framed(draw):
    """An operand and the same in PyTorch's order: `pad` = (before, after) of the last axis, of the one before it, .."""
    (x,), options = draw(borders())
    axes = draw(st.integers(0, x.ndim))
    some = options["widths"][x.ndim - axes:]
    # The other axes stay, so the oracle is given (0, 0) for them.
    pad = sum(reversed(some), ()) + (0, 0) * (x.ndim - axes)
    return (x,), dict(pad=pad, mode=options["mode"], value=options["value"])

def shuffled(back=False):
    """(N, C r r, H, W), or back (N, C, H r, W r), and r."""
    return st.tuples(*[st.integers(1, 2)] * 4, st.integers(1, 3)).flatmap(lambda s: case(
        of((s[0], s[1], s[2] * s[4], s[3] * s[4]) if back else (s[0], s[1] * s[4] ** 2, s[2], s[3])), r=st.just(s[4])))


# ---------------------------------------------------------------- indexing

@st.composite
def indexed(draw, values=None):
    """An operand and an index. `values`: a second operand, of the shape of that place ("fit") or broadcast to it."""
    shape = draw(shapes())
    index = draw(index_expressions(shape))
    place = np.zeros(shape)[index].shape
    if values == "broadcast" and draw(st.booleans()):
        place = place[1:]
    return draw(case(*[of(s) for s in ([shape, place] if values else [shape])], index=st.just(index)))

def integers(low, high, shape=None):
    """Arrays of ints from low to high - 1."""
    return arrays(shapes(0, 2) if shape is None else shape, (low, high - 1e-9)).map(lambda u: np.floor(u).astype(int))

@st.composite
def places_along(draw):
    """An operand and integer places along one axis: repeated ones, negative ones, more or fewer than there are."""
    shape = draw(shapes(1, empty=False))
    axis = draw(an_axis(shape))
    index = integers(-shape[axis], shape[axis], with_length(shape, axis, draw(st.integers(0, 4))))
    return draw(case(of(shape), index=index, axis=axis))

@st.composite
def largest(draw):
    (x,), options = draw(along(least=1, single=True, keepdims=False, distinct=True))
    return (x,), {**options, "k": draw(st.integers(0, x.shape[options["axis"]]))}


# ---------------------------------------------------------------- linear algebra

@st.composite
def products(draw):
    """Operands of matmul: vectors, matrices, batches that broadcast, empty ones."""
    n, k, m = (draw(st.sampled_from((1, 2, 3, 0))) for _ in range(3))
    batch_a, batch_b = draw(broadcastable_shapes(2, 2))
    a, b = draw(st.sampled_from([(k,), batch_a + (n, k)])), draw(st.sampled_from([(k,), batch_b + (k, m)]))
    return draw(case(of(a), of(b)))

def regular(batch, n):
    """Invertible matrices: on the diagonal at least 2, elsewhere at most 0.5."""
    return arrays(batch + (n, n), (-0.5, 0.5)).map(lambda a: a + 2.5 * np.eye(n)).flatmap(layouts)

def matrices():
    return st.tuples(shapes(0, 1), st.integers(1, 3)).flatmap(lambda s: case(regular(*s)))

def systems(**options):
    """A and B of A X = B, with batches that broadcast."""
    return st.tuples(broadcastable_shapes(2, 1), st.integers(1, 3), st.integers(1, 3)).flatmap(
        lambda s: case(regular(s[0][0], s[1]), of(s[0][1] + (s[1], s[2])), **options))

EINSUMS = ("ij,jk->ik", "ij,jk", "ij->ji", "ji", "ii->i", "ii", "iij->j", "iii", "i,i->", "i,j->ij", "ij,ij->ij",
           "ij,ij->", "ij->", "ij->i", "ij,j", "bij,bjk->bik", "bij,jk->bik", "...ij,...jk->...ik", "...i->...",
           "...ii->...i", "i...,i...", "ij,jk,kl->il", "i,i,i->i", "ij,kj,lk->li", "bhtd,bhsd->bhts", "a,b,c->cab",
           "iij,jk->ik", "ij,k->", "abc->cab", "...,...->...")

@st.composite
def contractions(draw):
    """Subscripts, and operands with a length for each letter; `...` stands for none, one or two axes."""
    subscripts = draw(st.sampled_from(EINSUMS))
    length = {c: (draw(st.sampled_from((2, 3, 1, 0))),) for c in sorted(set(subscripts) - set(",->."))}
    length["."] = draw(shapes(0, 2))
    terms = subscripts.split("->")[0].replace("...", ".").split(",")
    return draw(case(*[of(sum((length[c] for c in term), ())) for term in terms], subscripts=subscripts))


# ---------------------------------------------------------------- windows, layers

@st.composite
def windowed(draw):
    """(.., *size), one or two dimensions, and a kernel that fits."""
    g = draw(conv_geometries(draw(st.integers(1, 2))))
    size = tuple(n + 2 * p for n, p in zip(g.size, g.padding))
    return draw(case(of((g.batch,) + size), kernel=g.kernel, stride=g.stride, dilation=g.dilation))

@st.composite
def folded(draw):
    """Windows as `unfold` gives them, and the size they came from."""
    (x,), options = draw(windowed())
    size, kernel = x.shape[1:], options["kernel"]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, options["dilation"])]
    out = tuple((n - r) // s + 1 for n, r, s in zip(size, reach, options["stride"]))
    return draw(case(of((len(x),) + kernel + out), size=size, **options))

@st.composite
def convolutions(draw, d=2):
    """x, weight and bias (or none) of a convolution in d dimensions."""
    g = draw(conv_geometries(d))
    pairs = [getattr(g, n) if d == 2 else getattr(g, n)[0] for n in ("stride", "padding", "dilation")]
    bias = [of((g.filters,))] if draw(st.booleans()) else []
    return draw(case(of(g.x_shape), of(g.weight_shape), *bias, groups=g.groups,
                     **dict(zip(("stride", "padding", "dilation"), pairs))))

@st.composite
def transposed_convolutions(draw, d=2):
    """x, weight and bias (or none) of a transposed convolution in d dimensions: what a convolution would make, and back."""
    g = draw(conv_geometries(d))
    options = dict(stride=g.stride, padding=g.padding, dilation=g.dilation)
    reach = [r * (k - 1) + 1 for k, r in zip(g.kernel, g.dilation)]
    options["output_padding"] = tuple((n + 2 * p - w) % s for n, p, w, s in zip(g.size, g.padding, reach, g.stride))
    options = {name: value if d == 2 else value[0] for name, value in options.items()}
    bias = [of((g.channels,))] if draw(st.booleans()) else []
    return draw(case(of(g.out_shape), of(g.weight_shape), *bias, groups=g.groups, **options))

def pooled():
    """Images (N, C, H, W) without ties, a kernel that fits and a stride (or none)."""
    options = dict(kernel_size=st.sampled_from([1, 2, (1, 2)]), stride=st.sampled_from([None, 1, (2, 1)]))
    return st.tuples(*[st.integers(1, 2)] * 2, *[st.integers(2, 5)] * 2).flatmap(
        lambda s: case(of(s, distinct=True), **options))

def images(**options):
    return st.tuples(st.integers(1, 3), st.just(4), st.integers(1, 3), st.integers(2, 3)).flatmap(
        lambda s: case(of(s), of((4,)), of((4,)), **options))

@st.composite
def classified(draw, positions=False):
    """Logits (N, K), or (N, K, ..), and the right classes."""
    n, k = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    rest = draw(shapes(0, 2, empty=False)) if positions else ()
    return draw(case(of((n, k) + rest), targets=integers(0, k, (n,) + rest), reduction=reductions))

@st.composite
def attentions(draw):
    """query (.., T, E), key (.., S, E), value (.., S, V), and who may look where."""
    batch = draw(shapes(0, 2, empty=False))
    t, s, e, v = (draw(st.integers(1, 3)) for _ in range(4))
    options = draw(st.sampled_from([{}, {"causal": True}, {"mask": integers(0, 2, (t, s)).map(lambda m: m > 0)}]))
    return draw(case(of(batch + (t, e)), of(batch + (s, e)), of(batch + (s, v)), **options))

@st.composite
def sequences(draw):
    """x (T, N, I), h and c (N, D), weight_ih (4D, I), weight_hh (4D, D), bias (4D,)."""
    t, n, i, d = (draw(st.integers(1, 3)) for _ in range(4))
    return draw(case(*[of(s, (-1, 1)) for s in ((t, n, i), (n, d), (n, d), (4 * d, i), (4 * d, d), (4 * d,))]))
