"""Modules for sequences equal PyTorch's: recurrent layers and cells, multi-head attention, the Transformer."""
import itertools

import numpy as np
import pytest

import tinygrad_edu as tg
from kernel_faces import CLOSE, draw_array
from tinygrad_edu import Tensor, functional as F, nn
from twins import assert_equal, twins

KINDS = ("RNN", "LSTM", "GRU")
each_kind = pytest.mark.parametrize("name", KINDS)


def same(name, *arguments, **options):
    """Twins whose class has one name in both libraries."""
    return twins(lambda: getattr(nn, name)(*arguments, **options), lambda lib: getattr(lib, name)(*arguments, **options))


# ---------------------------------------------------------------- recurrent layers

def test_rnn_with_relu_equals_pytorch():
    assert_equal(*same("RNN", 3, 4, 2, "relu", bidirectional=True), [draw_array(0, 5, 2, 3)])
    assert repr(nn.RNN(3, 4, nonlinearity="relu", dropout=0.5)) == "RNN(3, 4, nonlinearity='relu', dropout=0.5)"


@each_kind
@pytest.mark.parametrize("batch_first", [False, True])
def test_one_sequence_without_a_batch(name, batch_first):
    ours, theirs = same(name, 3, 4, num_layers=2, batch_first=batch_first)
    assert_equal(ours, theirs, [draw_array(0, 5, 3)])
    arrays = [draw_array(k, *shape) for k, shape in enumerate([(5, 3), (2, 4), (2, 4)])]
    if name == "LSTM":
        assert_equal(ours, theirs, arrays, lambda m, x, h, c: m(x, (h, c)))
    else:
        assert_equal(ours, theirs, arrays[:2])
    with pytest.raises(ValueError, match=r"got lengths for one sequence \(5, 3\)"):
        ours(Tensor(arrays[0]), lengths=np.array([5]))


@each_kind
def test_dropout_lies_between_the_layers_and_only_in_training(name):
    tg.manual_seed(1)
    both = getattr(nn, name)(3, 4, num_layers=2, dropout=0.5)
    first, second = getattr(nn, name)(3, 4), getattr(nn, name)(4, 4)
    state = both.state_dict()
    first.load_state_dict({key: t for key, t in state.items() if key.endswith("l0")})
    second.load_state_dict({key.replace("l1", "l0"): t for key, t in state.items() if key.endswith("l1")})

    x = tg.randn(5, 2, 3)
    for training in (True, False):
        both.train(training)
        tg.manual_seed(7)
        y = both(x)[0]
        tg.manual_seed(7)
        between = F.dropout(first(x)[0], 0.5, training)
        np.testing.assert_array_equal(y.data, second(between)[0].data)


# ---------------------------------------------------------------- cells

@pytest.mark.parametrize("name, options", [("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu"}), ("LSTMCell", {}),
                                           ("GRUCell", {}), ("GRUCell", {"bias": False})], ids=str)
def test_cells_equal_pytorch(name, options):
    ours, theirs = same(name, 3, 4, **options)
    x, h, c = draw_array(0, 2, 3), draw_array(1, 2, 4), draw_array(2, 2, 4)
    for n in (slice(None), 0):                                          # a batch, and one item
        if name == "LSTMCell":
            assert_equal(ours, theirs, [x[n], h[n], c[n]], lambda m, x, h, c: m(x, (h, c)))
        else:
            assert_equal(ours, theirs, [x[n], h[n]])
        assert_equal(ours, theirs, [x[n]])


@each_kind
def test_a_loop_over_a_cell_is_the_layer(name):
    layer, cell = getattr(nn, name)(3, 4).double(), getattr(nn, name + "Cell")(3, 4).double()
    cell.load_state_dict({key.removesuffix("_l0"): t for key, t in layer.state_dict().items()})
    x, state, outputs = Tensor(draw_array(0, 5, 2, 3)), None, []
    for xt in x:
        state = cell(xt, state)
        outputs.append(state[0] if name == "LSTM" else state)
    np.testing.assert_allclose(tg.stack(outputs).data, layer(x)[0].data, **CLOSE)


def test_cells_refuse_states_of_another_shape_and_print():
    with pytest.raises(ValueError, match=r"LSTMCell: got states of shapes \[\(2, 4\)\], expected 2 of \(2, 4\)"):
        nn.LSTMCell(3, 4)(tg.zeros(2, 3), tg.zeros(2, 4))
    assert repr(nn.RNNCell(3, 4, False, "relu")) == "RNNCell(3, 4, bias=False, nonlinearity='relu')"


# ---------------------------------------------------------------- attention

T, S, N, E = 3, 5, 2, 6
PADDING = np.arange(S) >= np.array([[S], [2]])                          # (N, S)
HIDDEN = np.triu(np.ones((T, S), bool), 2)
MASKS = {
    "nothing": {},
    "padding": {"key_padding_mask": PADDING},
    "bool": {"attn_mask": HIDDEN},
    "float": {"attn_mask": draw_array(3, T, S)},
    "each head": {"attn_mask": draw_array(3, N * 3, T, S)},
    "both": {"attn_mask": HIDDEN, "key_padding_mask": PADDING},
}


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"kdim": 4, "vdim": 7}, {"vdim": 7, "bias": False}], ids=str)
@pytest.mark.parametrize("average", [True, False])
def test_attention_and_its_weights_equal_pytorch(masks, options, average):
    torch = pytest.importorskip("torch")
    ours, theirs = same("MultiheadAttention", E, 3, **options)
    shapes = (T, N, E), (S, N, options.get("kdim", E)), (S, N, options.get("vdim", E))
    arrays = [draw_array(k, *shape) for k, shape in enumerate(shapes)]
    if options.get("batch_first"):
        arrays = [a.swapaxes(0, 1).copy() for a in arrays]
    given = MASKS[masks]
    torch_given = {name: torch.tensor(mask) for name, mask in given.items()}
    assert_equal(ours, theirs, arrays,
                 lambda m, q, k, v: m(q, k, v, need_weights=True, average_attn_weights=average, **given),
                 lambda m, q, k, v: m(q, k, v, average_attn_weights=average, **torch_given))
    assert_equal(ours, theirs, arrays, lambda m, q, k, v: m(q, k, v, **given),
                 lambda m, q, k, v: m(q, k, v, need_weights=False, **torch_given)[0])


def test_our_mask_and_pytorchs_hide_together():
    attention, x = nn.MultiheadAttention(E, 3).double(), Tensor(draw_array(0, T, N, E))
    may_look, hidden = np.tril(np.ones((T, T), bool)), np.eye(T, k=-1, dtype=bool)
    together = attention(x, mask=may_look & ~hidden)
    np.testing.assert_array_equal(attention(x, mask=may_look, attn_mask=hidden).data, together.data)
    np.testing.assert_array_equal(attention(x, causal=True, attn_mask=hidden).data, together.data)


def test_dropout_acts_on_the_weights():
    tg.manual_seed(0)
    attention, x = nn.MultiheadAttention(E, 3, dropout=0.25), tg.randn(40, N, E)
    whole = attention.eval()(x, need_weights=True, average_attn_weights=False)[1].data
    dropped = attention.train()(x, need_weights=True, average_attn_weights=False)[1].data
    kept = dropped != 0
    assert kept.mean() == pytest.approx(0.75, abs=0.02)                 # 9,600 weights: 4.5 standard errors
    np.testing.assert_allclose(dropped[kept], whole[kept] / 0.75, rtol=1e-5)


def test_a_padding_mask_of_numbers_is_refused():
    with pytest.raises(TypeError, match="got a key_padding_mask of int64, expected bool"):
        nn.MultiheadAttention(E, 3)(tg.ones(T, N, E), key_padding_mask=np.zeros((N, T), np.int64))


# ---------------------------------------------------------------- Transformer

ORDERS = list(itertools.product([False, True], ["relu", "gelu"], [False, True]))
SMALL = dict(dim_feedforward=8, dropout=0.0)
quiet = pytest.mark.filterwarnings("ignore:enable_nested_tensor")       # PyTorch speaks of its own fast path


def by_order(batch_first, *arrays):
    return [a.swapaxes(0, 1).copy() if batch_first else a for a in arrays]


@pytest.mark.parametrize("norm_first, activation, batch_first", ORDERS)
def test_encoder_layer_equals_pytorch(norm_first, activation, batch_first):
    torch = pytest.importorskip("torch")
    ours, theirs = same("TransformerEncoderLayer", E, 3, activation=activation, norm_first=norm_first, batch_first=batch_first,
                        **SMALL)
    mask = np.triu(np.ones((S, S), bool), 1)
    arrays = by_order(batch_first, draw_array(0, S, N, E))
    assert_equal(ours, theirs, arrays)
    assert_equal(ours, theirs, arrays, lambda m, x: m(x, mask, PADDING),
                 lambda m, x: m(x, torch.tensor(mask), torch.tensor(PADDING)))
    assert_equal(ours, theirs, arrays, lambda m, x: m(x, is_causal=True), lambda m, x: m(x, torch.tensor(mask)))


@pytest.mark.parametrize("norm_first, activation, batch_first", ORDERS)
def test_decoder_layer_equals_pytorch(norm_first, activation, batch_first):
    torch = pytest.importorskip("torch")
    ours, theirs = same("TransformerDecoderLayer", E, 3, activation=activation, norm_first=norm_first, batch_first=batch_first,
                        **SMALL)
    arrays = by_order(batch_first, draw_array(0, T, N, E), draw_array(1, S, N, E))
    assert_equal(ours, theirs, arrays)
    masks = np.triu(np.ones((T, T), bool), 1), HIDDEN, np.zeros((N, T), bool), PADDING
    assert_equal(ours, theirs, arrays, lambda m, x, y: m(x, y, *masks), lambda m, x, y: m(x, y, *map(torch.tensor, masks)))
    assert_equal(ours, theirs, arrays, lambda m, x, y: m(x, y, tgt_is_causal=True),
                 lambda m, x, y: m(x, y, torch.tensor(masks[0])))


@quiet
def test_stacks_of_layers_equal_pytorch():
    for kind, shapes in (("TransformerEncoder", [(S, N, E)]), ("TransformerDecoder", [(T, N, E), (S, N, E)])):
        def make(lib):
            return getattr(lib, kind)(getattr(lib, f"{kind}Layer")(E, 3, **SMALL), 2, norm=lib.LayerNorm(E))

        assert_equal(*twins(lambda: make(nn), make), [draw_array(k, *shape) for k, shape in enumerate(shapes)])


@quiet
@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_equals_pytorch(norm_first):
    torch = pytest.importorskip("torch")
    ours, theirs = same("Transformer", E, 3, 2, 2, norm_first=norm_first, batch_first=True, **SMALL)
    arrays = [draw_array(0, N, S, E), draw_array(1, N, T, E)]
    mask = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
    assert_equal(ours, theirs, arrays, lambda m, x, y: m(x, y, src_key_padding_mask=PADDING, memory_key_padding_mask=PADDING,
                                                         tgt_is_causal=True),
                 lambda m, x, y: m(x, y, src_key_padding_mask=torch.tensor(PADDING),
                                   memory_key_padding_mask=torch.tensor(PADDING), tgt_mask=mask))


@quiet
def test_transformer_starts_as_pytorchs():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    options = 64, 4, 1, 1, 256
    gradients = dict(torch.nn.Transformer(*options).named_parameters())
    for name, p in nn.Transformer(*options).named_parameters():
        assert p.data.std() == pytest.approx(gradients[name].std(unbiased=False).item(), rel=0.15, abs=1e-7), name


def test_dropout_is_in_all_the_places_and_ends_with_eval():
    tg.manual_seed(0)
    layer = nn.TransformerEncoderLayer(E, 3, 8, dropout=0.5)
    x = tg.randn(S, N, E)
    assert sum(isinstance(m, nn.Dropout) and m.p == 0.5 for m in layer.modules()) == 3 and layer.self_attn.dropout == 0.5
    assert abs(layer(x).data - layer(x).data).max() > 0
    layer.eval()
    np.testing.assert_array_equal(layer(x).data, layer(x).data)


def test_copies_of_a_layer_are_independent_and_a_wrong_activation_is_named():
    stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(E, 3, 8), 2)
    assert len({id(p) for p in stack.parameters()}) == 24
    with pytest.raises(ValueError, match="got activation 'selu', expected one of"):
        nn.TransformerEncoderLayer(E, 3, activation="selu")
