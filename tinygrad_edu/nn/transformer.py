"""The Transformer of 2017 as layers: attention among the tokens, then a small network on each of them, and so on.

    src (S, N, E) the source    tgt (T, N, E) the target    memory (S, N, E) what the encoder made of the source
    with batch_first (N, S, E), (N, T, E), (N, S, E);    E = d_model

Masks as in PyTorch: True hides, floats are added to the scores; .._mask (T, S), .._key_padding_mask (N, S). A flag
`is_causal` hides the future by itself, no mask needed. Left out: bias=False, custom encoders, nested tensors.

Vaswani et al. 2017, arXiv:1706.03762; norm first: Xiong et al. 2020, arXiv:2002.04745.
"""
import copy

from .. import functional as F
from .attention import MultiheadAttention
from .dropout import Dropout
from .init import xavier_uniform_
from .linear import Linear
from .module import Module
from .normalization import LayerNorm

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu}


class _Layer(Module):
    """What both layers have in common. The plain order is norm(x + part(x)); with norm_first it is x + part(norm(x)),
    which leaves a path from the last layer to the first on which nothing is multiplied.
    """

    def _prepare(self, d_model, dim_feedforward, dropout, activation, layer_norm_eps, norm_first, parts):
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise ValueError(f"{type(self).__name__}: got activation {activation!r}, expected one of {list(ACTIVATIONS)} "
                             "or a function")
        self.linear1, self.linear2 = Linear(d_model, dim_feedforward), Linear(dim_feedforward, d_model)
        for i in range(1, parts + 1):
            setattr(self, f"norm{i}", LayerNorm(d_model, layer_norm_eps))
        for i in ("", *range(1, parts + 1)):
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.activation, self.norm_first = ACTIVATIONS.get(activation, activation), norm_first

    def _before(self, norm, x):
        return norm(x) if self.norm_first else x

    def _after(self, norm, x):
        return x if self.norm_first else norm(x)

    def _feed_forward(self, x):
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_Layer):
    """Self-attention, then a network of one hidden layer on each token: (S, N, E) -> (S, N, E)."""

    def __init__(self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation="relu", layer_norm_eps=1e-5,
                 batch_first=False, norm_first=False):
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, batch_first=batch_first)
        self._prepare(d_model, dim_feedforward, dropout, activation, layer_norm_eps, norm_first, parts=2)

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        h = self._before(self.norm1, src)
        h = self.self_attn(h, causal=is_causal, attn_mask=src_mask, key_padding_mask=src_key_padding_mask)
        x = self._after(self.norm1, src + self.dropout1(h))

        h = self._feed_forward(self._before(self.norm2, x))
        return self._after(self.norm2, x + self.dropout2(h))


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to the memory, then a network on each token: (T, N, E), (S, N, E) -> (T, N, E)."""

    def __init__(self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation="relu", layer_norm_eps=1e-5,
                 batch_first=False, norm_first=False):
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, batch_first=batch_first)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, batch_first=batch_first)
        self._prepare(d_model, dim_feedforward, dropout, activation, layer_norm_eps, norm_first, parts=3)

    def forward(self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None,
                tgt_is_causal=False, memory_is_causal=False):
        h = self._before(self.norm1, tgt)
        h = self.self_attn(h, causal=tgt_is_causal, attn_mask=tgt_mask, key_padding_mask=tgt_key_padding_mask)
        x = self._after(self.norm1, tgt + self.dropout1(h))

        h = self._before(self.norm2, x)
        h = self.multihead_attn(h, memory, causal=memory_is_causal, attn_mask=memory_mask,
                                key_padding_mask=memory_key_padding_mask)
        x = self._after(self.norm2, x + self.dropout2(h))

        h = self._feed_forward(self._before(self.norm3, x))
        return self._after(self.norm3, x + self.dropout3(h))


class TransformerEncoder(Module):
    """`num_layers` copies of a layer, one after the other, then the norm, if there is one. All copies start equal."""

    def __init__(self, encoder_layer, num_layers, norm=None):
        self.layers, self.norm = [copy.deepcopy(encoder_layer) for _ in range(num_layers)], norm

    def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=False):
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, is_causal)
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """`num_layers` copies of a layer, each looking at the same memory, then the norm, if there is one."""

    def __init__(self, decoder_layer, num_layers, norm=None):
        self.layers, self.norm = [copy.deepcopy(decoder_layer) for _ in range(num_layers)], norm

    def forward(self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None,
                tgt_is_causal=False, memory_is_causal=False):
        for layer in self.layers:
            tgt = layer(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, tgt_is_causal,
                        memory_is_causal)
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """Encoder and decoder: the source is read once, then every layer of the decoder looks at what was read.

    src (S, N, E), tgt (T, N, E) -> (T, N, E). All matrices start as U(-sqrt(6 / (rows + columns)), ..) (Xavier).
    """

    def __init__(self, d_model=512, nhead=8, num_encoder_layers=6, num_decoder_layers=6, dim_feedforward=2048, dropout=0.1,
                 activation="relu", layer_norm_eps=1e-5, batch_first=False, norm_first=False):
        options = d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first
        self.encoder = TransformerEncoder(TransformerEncoderLayer(*options), num_encoder_layers,
                                          LayerNorm(d_model, layer_norm_eps))
        self.decoder = TransformerDecoder(TransformerDecoderLayer(*options), num_decoder_layers,
                                          LayerNorm(d_model, layer_norm_eps))
        for p in self.parameters():
            if p.ndim == 2:
                xavier_uniform_(p)

    def forward(self, src, tgt, src_mask=None, tgt_mask=None, memory_mask=None, src_key_padding_mask=None,
                tgt_key_padding_mask=None, memory_key_padding_mask=None, src_is_causal=False, tgt_is_causal=False,
                memory_is_causal=False):
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, tgt_is_causal,
                            memory_is_causal)
