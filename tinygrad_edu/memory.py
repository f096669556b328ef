"""Floor 3: two ways to train with less memory, each at a price: smaller batches, and forgotten activations.

`accumulate` takes a batch in pieces: the price is that no piece sees the others. `checkpoint` forgets what a part of the
network computed on the way and computes it again when backward needs it: the price is one more forward pass of that part.
"""
from . import autograd, backend
from .autograd import Function, Identity
from .tensor import Tensor


def accumulate(loss, *arrays, parts):
    """Backward of `loss(*arrays)`, a mean over rows, in `parts` pieces: the same gradients. Returns the mean loss as a number.

    The arrays share their first axis. A piece's loss counts as much as its share of the rows, since the sum of the means of
    pieces is not the mean of all. What looks at several rows at once, such as batch norm in training, sees a piece only.
    """
    rows = len(arrays[0])
    if any(len(array) != rows for array in arrays) or not 1 <= parts <= rows:
        raise ValueError(f"accumulate: got {parts} parts of arrays of {[len(array) for array in arrays]} rows, "
                         "expected equal numbers of rows, and parts from 1 to that number")
    total = 0.0
    for i in range(parts):
        piece = slice(i * rows // parts, (i + 1) * rows // parts)
        share = loss(*(array[piece] for array in arrays)) * ((piece.stop - piece.start) / rows)
        share.backward()
        total += share.item()
    return total


def checkpoint(function, *inputs):
    """`function(*inputs)`, one Tensor, without keeping what it computes on the way; backward calls `function` again.

    Values and gradients are the same, also those of Tensors that the function finds elsewhere (weights), also after dropout:
    the second call draws the same random numbers. What else it changes, it changes twice (running statistics of batch norm).
    Chen et al. 2016, arXiv:1604.06174: a chain of n layers cut into sqrt(n) pieces keeps O(sqrt(n)) activations.
    """
    if not autograd.is_grad_enabled():
        return function(*inputs)

    def call(tensors):
        tensors = iter(tensors)
        return function(*(next(tensors) if isinstance(x, Tensor) else x for x in inputs))

    tensors = [x for x in inputs if isinstance(x, Tensor)]
    node, start = Recompute(call, len(tensors)), next(autograd._clock)
    y, gated = node.run(tensors)
    if not y.requires_grad:
        return y
    found = _found_elsewhere(y, gated, start)
    node.data = y.data
    del y, gated                            # and with them the graph of the first call
    return node.apply(*tensors, *found)


class Recompute(Function):
    """y = call(the first `count` inputs), as one node. The other inputs are what the function found elsewhere."""

    def __init__(self, call, count):
        self.call, self.count = call, count
        self.random, self.autocast = backend.generator().bit_generator.state, autograd._autocast

    def run(self, tensors):
        """Call the function with a gate, an Identity, before each Tensor. Returns y and the gated Tensors."""
        gated = [Identity().apply(x) for x in tensors]
        y = self.call(gated)
        if not isinstance(y, Tensor):
            raise TypeError(f"checkpoint: the function returned a {type(y).__name__}, expected one Tensor")
        return y, gated

    def forward(self, *arrays):
        self.save(*arrays)
        data, self.data = self.data, None
        return data

    def backward(self, gy):
        return self.backward_again(gy, create_graph=False)

    def differentiable_backward(self, gy):
        return self.backward_again(gy, create_graph=True)

    def backward_again(self, gy, create_graph):
        """Run, and pull gy back to the gates and to what was found elsewhere, but no further: the engine does that."""
        inputs = self.inputs
        y, gated = self.run_as_before(inputs[: self.count])
        if y.shape != self.out.shape:
            raise RuntimeError(f"checkpoint: the function gave shape {self.out.shape} first and {y.shape} when called again")
        targets = gated + list(inputs[self.count :])
        wanted = [x for x in targets if x.requires_grad]
        closed = {x.creator: x.creator.sources for x in wanted if x.creator is not None}
        try:
            for node in closed:
                node.sources = (None,)
            gradients = autograd.run_backward([y], [gy], wanted, create_graph, create_graph)
        finally:
            for node, sources in closed.items():
                node.sources = sources
        return tuple(gradients.get(x.creator or x) for x in targets)

    def run_as_before(self, tensors):
        """`run` in the state of the first time: the same random numbers, the same autocast."""
        random, autocast, bits = self.random, self.autocast, backend.generator().bit_generator
        now, bits.state = bits.state, random
        before, autograd._autocast = autograd._autocast, autocast
        try:
            with autograd.enable_grad():
                return self.run(tensors)
        finally:
            bits.state, autograd._autocast = now, before

    def release(self):
        super().release()
        self.call = None


def _found_elsewhere(y, gated, start):
    """Leaves, and nodes born before `start`, as Tensors, in which the graph of y ends, apart from the gates."""
    gates, found, seen = {x.creator for x in gated}, {}, set()
    stack = [(y.creator or y, y.data)]
    while stack:
        source, array = stack.pop()
        if source is None or source in seen or source in gates:
            continue
        seen.add(source)
        if isinstance(source, Tensor) or source.birth < start:
            found[source] = autograd._tensor_of(source, array)
        else:
            stack += zip(source.sources, source.arrays)
    return list(found.values())
