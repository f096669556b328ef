"""Recurrent kernels equal their definitions; the modules equal PyTorch's, layers, directions and lengths included."""
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg
from kernel_faces import CLOSE, FACES, draw_array, equals_definition
from tinygrad_edu import Tensor, functional as F, nn
from tinygrad_edu.kernels import gru, lstm, recurrent
from tinygrad_edu.testing import gradcheck
from tinygrad_edu.testing.strict_cupy import strict_cupy

KINDS = {"rnn": (F.rnn, 1, 1, 1), "lstm": (F.lstm, 4, 2, 1), "gru": (F.gru, 3, 1, 2)}       # gates, states, biases
each_kind = pytest.mark.parametrize("kind", KINDS)
MODULES = ("RNN", "LSTM", "GRU")


def draw_inputs(kind, T, N, I, D):
    _, gates, states, biases = KINDS[kind]
    shapes = [(T, N, I)] + [(N, D)] * states + [(gates * D, I), (gates * D, D)] + [(gates * D,)] * biases
    return [draw_array(3 + k, *shape) for k, shape in enumerate(shapes)]


def all_of(kind, *xs, **options):
    """Every answer in one row, so that each takes part in the gradients."""
    return tg.concatenate([y.reshape(-1) for y in KINDS[kind][0](*xs, **options)])


# ---------------------------------------------------------------- kernels

@each_kind
@given(sizes=st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(1, 3), st.integers(1, 3)), data=st.data())
def test_recurrence_equals_its_definition(kind, sizes, data):
    T, N, _, _ = sizes
    lengths = data.draw(st.none() | st.lists(st.integers(0, T), min_size=N, max_size=N).map(lambda n: np.array(n, int)))
    equals_definition(lambda *xs: all_of(kind, *xs, lengths=lengths), *draw_inputs(kind, *sizes))


@given(sizes=st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(1, 3), st.integers(1, 3)))
def test_recurrence_with_relu_equals_its_definition(sizes):
    equals_definition(lambda *xs: all_of("rnn", *xs, nonlinearity="relu"), *draw_inputs("rnn", *sizes))


def test_another_nonlinearity_is_refused():
    with pytest.raises(ValueError, match="rnn: got nonlinearity 'elu', expected 'tanh' or 'relu'"):
        F.rnn(*draw_inputs("rnn", 1, 1, 1, 1), nonlinearity="elu")


@each_kind
def test_recurrence_against_central_differences(kind):
    gradcheck(lambda *xs: all_of(kind, *xs, lengths=np.array([3, 1])), *draw_inputs(kind, 3, 2, 2, 2))


@each_kind
def test_recurrence_works_in_blocks(kind, monkeypatch):
    """Computing the factors of one step at a time changes nothing."""
    gradients = []
    for block in (1, 1 << 17):
        monkeypatch.setattr(recurrent, "_BLOCK", block)
        xs = [Tensor(a, requires_grad=True) for a in draw_inputs(kind, 5, 2, 3, 2)]
        y = all_of(kind, *xs)
        gradients.append([g.data for g in tg.grad(y, xs, Tensor(draw_array(0, *y.shape)))])
    for one, whole in zip(*gradients):
        np.testing.assert_array_equal(one, whole)


@each_kind
def test_backward_twice_through_one_graph(kind):
    """The backward pass leaves what the forward pass saved as it was."""
    xs = [Tensor(a, requires_grad=True) for a in draw_inputs(kind, 4, 2, 3, 2)]
    y = all_of(kind, *xs)
    gy = Tensor(draw_array(0, *y.shape))
    for first, second in zip(tg.grad(y, xs, gy, retain_graph=True), tg.grad(y, xs, gy)):
        np.testing.assert_array_equal(first.data, second.data)


@each_kind
def test_the_gradient_nobody_wants_is_skipped(kind):
    x, *others = draw_inputs(kind, 3, 2, 2, 2)
    with tg.reference_only(False):
        y = KINDS[kind][0](x, *[Tensor(a, requires_grad=True) for a in others])[-1]
    kernel = y.creator.inputs[0].creator
    assert kernel.name == kind.upper() and kernel.backward(np.ones(kernel.out.shape))[0] is None


@each_kind
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("face", FACES)
def test_a_dtype_stays_what_it_is(kind, dtype, face):
    xs = [Tensor(a.astype(dtype), requires_grad=True) for a in draw_inputs(kind, 3, 2, 2, 2)]
    with tg.kernel_face(face):
        y = all_of(kind, *xs, lengths=np.array([3, 1]))
        y.backward(np.ones(y.shape, dtype))
    assert {y.dtype.name, *(x.grad.dtype.name for x in xs)} == {dtype}


@each_kind
def test_a_sequence_ends_at_its_length(kind):
    """Each sequence gives what it gives alone, cut to its length; its padding, even NaN, reaches nothing."""
    function, _, states, _ = KINDS[kind]
    x, *others = draw_inputs(kind, 4, 3, 2, 3)
    lengths, padded = np.array([4, 0, 2]), x.copy()
    padded[2:, 2] = np.nan
    outputs, *finals = function(padded, *others, lengths=lengths)
    for n, length in enumerate(lengths):
        starts = [s[n : n + 1] for s in others[:states]]
        assert not outputs[length:, n].any()
        alone, *ends = function(x[:length, n : n + 1], *starts, *others[states:]) if length else (x[:0, :1], *starts)
        for final, end in zip(finals, ends):
            np.testing.assert_allclose(final[n], end[0], **CLOSE)
        if length:
            np.testing.assert_allclose(outputs[:length, n], alone[:, 0], **CLOSE)

    xs = [Tensor(a, requires_grad=True) for a in (padded, *others)]
    y = all_of(kind, *xs, lengths=lengths)
    gx, *gothers = tg.grad(y, xs, Tensor(draw_array(0, *y.shape)))
    assert not gx.data[2:, 2].any() and not gx.data[:, 1].any() and gx.data[:2, 2].all()
    assert all(np.isfinite(g.data).all() for g in gothers)


@each_kind
def test_wrong_shapes_are_named(kind):
    function = KINDS[kind][0]
    x, *others = draw_inputs(kind, 3, 2, 2, 3)
    for wrong in (x[0], x[:, :1], x[:0]):
        with pytest.raises(ValueError, match=f"{kind}: got x .* expected"):
            function(wrong, *others)
    with pytest.raises(ValueError, match=f"{kind}: got weights"):
        function(x[:, :, :1], *others)
    with pytest.raises(ValueError, match=f"{kind}: got a bias of shape"):
        function(x, *others[:-1], others[-1][1:])
    for lengths in (np.array([1]), np.array([1.0, 2.0]), np.array([4, 1]), np.array([-1, 1])):
        with pytest.raises(ValueError, match=f"{kind}: got lengths"):
            function(x, *others, lengths=lengths)


# ---------------------------------------------------------------- memory

CLASSES = {"rnn": recurrent.RNN, "lstm": lstm.LSTM, "gru": gru.GRU}


def allocating_lines(code, run, at_least):
    """How many times a line of the function `code` asked for `at_least` bytes while `run` ran, even if only for a moment."""
    count, before = 0, None

    def tracer(frame, event, argument):
        nonlocal count, before
        if frame.f_code is not code:
            return None
        now, peak = tracemalloc.get_traced_memory()
        count += before is not None and peak - before >= at_least
        tracemalloc.reset_peak()
        before = None if event == "return" else now
        return tracer

    was = sys.gettrace()
    tracemalloc.start()
    sys.settrace(tracer)
    try:
        run()
    finally:
        sys.settrace(was)
        tracemalloc.stop()
    return count


@each_kind
@pytest.mark.parametrize("way", ["forward", "backward"])
def test_the_time_loop_allocates_nothing(kind, way):
    """As many lines ask for the memory of a state in 3 steps as in 30; NumPy itself may buffer 8192 numbers in a call."""
    N, D = 64, 160
    counts = []
    for T in (3, 30):
        inputs = draw_inputs(kind, T, N, 8, D)
        node = CLASSES[kind](np.full(N, T))
        node.sources = inputs
        y = node.forward(*inputs)
        run = {"forward": lambda: node.forward(*inputs), "backward": lambda: node.backward(y)}[way]
        counts.append(allocating_lines(getattr(CLASSES[kind], way).__code__, run, N * D * 8))
    assert counts[0] == counts[1] > 0


def test_the_counter_of_allocations_sees_one_that_lasts_a_moment():
    def loop(times):
        x = np.ones(1000)
        for _ in range(times):
            x += x * x

    assert allocating_lines(loop.__code__, lambda: loop(4), 8000) == 5


def test_a_long_lstm_needs_what_it_saves_and_little_more():
    """Forward of 1000 steps: states before and after, tanh of the cells, gates, the answer; 8 arrays of T x D x N."""
    T, N, D = 1000, 4, 16
    inputs = [a.astype("float32") for a in draw_inputs("lstm", T, N, 8, D)]
    node = lstm.LSTM(np.full(N, T))
    tracemalloc.start()
    node.forward(*inputs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * T * D * N * 4 + 100_000


# ---------------------------------------------------------------- modules

@pytest.mark.parametrize("name", MODULES)
def test_modules_with_lengths_on_a_device(name):
    """The stand-in for CuPy refuses to mix host and device; values and gradients are those of the CPU."""
    module = getattr(nn, name)(3, 4, num_layers=2, bidirectional=True)
    x, lengths = draw_array(0, 5, 3, 3), np.array([5, 2, 0])
    answers = []
    for device in ("cpu", "cuda"):
        with strict_cupy() as counts:
            module = module.to(device)
            xd = Tensor(x.astype("float32"), requires_grad=True, device=device)
            output, state = module(xd, lengths=lengths)
            (output * output).sum().backward()
            assert counts["syncs"] == 0
            answers.append([output.detach().numpy(), xd.grad.numpy(), *[p.grad.numpy() for p in module.parameters()]])
            module.to("cpu")
    for ours, theirs in zip(*answers):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def pair_of(name, **options):
    """Our module and PyTorch's, in float64 and with equal parameters, loaded from PyTorch's state."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(3, 4, **options).double()
    ours = getattr(nn, name)(3, 4, **options).double()
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    return torch, ours, theirs


def flat(output, state):
    return [output, *(state if isinstance(state, tuple) else (state,))]


def compare(ours, theirs, our_answers, their_answers, our_inputs, their_inputs):
    """Values, and the gradients of inputs and parameters on random cotangents, one for each answer."""
    total, sum_ = 0, 0
    for k, (y, t) in enumerate(zip(our_answers, their_answers, strict=True)):
        np.testing.assert_allclose(y.data, t.detach().numpy(), **CLOSE)
        gy = draw_array(20 + k, *y.shape)
        total, sum_ = total + (y * Tensor(gy)).sum(), sum_ + (t * t.new_tensor(gy)).sum()
    total.backward()
    sum_.backward()
    gradients = dict(theirs.named_parameters())
    assert gradients.keys() == dict(ours.named_parameters()).keys()
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(p.grad.data, gradients[name].grad.numpy(), err_msg=name, **CLOSE)
    for x, t in zip(our_inputs, their_inputs, strict=True):
        np.testing.assert_allclose(x.grad.data, t.grad.numpy(), **CLOSE)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("options", [{}, dict(num_layers=3), dict(bidirectional=True), dict(bias=False),
                                     dict(num_layers=2, bidirectional=True, batch_first=True)], ids=str)
@pytest.mark.parametrize("with_state", [False, True])
def test_modules_equal_pytorch(name, options, with_state):
    torch, ours, theirs = pair_of(name, **options)
    layers = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    states = with_state * (1 + (name == "LSTM"))
    arrays = [draw_array(1, 5, 2, 3)] + [draw_array(2 + k, layers, 2, 4) for k in range(states)]
    if options.get("batch_first"):
        arrays[0] = arrays[0].swapaxes(0, 1).copy()
    xs, ts = [Tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    starts = [() if len(v) == 1 else (tuple(v[1:]),) if len(v) > 2 else (v[1],) for v in (xs, ts)]
    compare(ours, theirs, flat(*ours(xs[0], *starts[0])), flat(*theirs(ts[0], *starts[1])), xs, ts)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_lengths_equal_pytorchs_packed_sequences(name, bidirectional):
    torch, ours, theirs = pair_of(name, num_layers=2, bidirectional=bidirectional)
    lengths, x = np.array([2, 5, 1, 3]), draw_array(1, 5, 4, 3)
    xs, t = [Tensor(x, requires_grad=True)], torch.tensor(x, requires_grad=True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(t, torch.tensor(lengths), enforce_sorted=False)
    packed, state = theirs(packed)
    output, _ = torch.nn.utils.rnn.pad_packed_sequence(packed)
    compare(ours, theirs, flat(*ours(xs[0], lengths=lengths)), flat(output, state), xs, [t])


@pytest.mark.parametrize("name", MODULES)
def test_modules_refuse_states_of_another_shape(name):
    module = getattr(nn, name)(3, 4, num_layers=2)
    with pytest.raises(ValueError, match=f"{name}: got states of shapes .* expected"):
        module(tg.zeros(5, 2, 3), tg.zeros(1, 2, 4))


def test_parameters_start_within_their_bound_and_print():
    module = nn.GRU(3, 25, num_layers=2, bidirectional=True)
    assert all(abs(p.data).max() <= 0.2 and abs(p.data).max() > 0.15 for p in module.parameters())
    assert module.weight_ih_l1_reverse.shape == (75, 50)
    assert repr(module) == "GRU(3, 25, num_layers=2, bidirectional=True)"
