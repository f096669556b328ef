"""Floor 4: modules with parameters. Names, shapes, defaults and initialization as in PyTorch."""
from .attention import MultiheadAttention
from .layers import (GELU, BatchNorm1d, BatchNorm2d, Conv2d, ConvTranspose1d, ConvTranspose2d, Dropout, Embedding, Flatten,
                     GroupNorm, Identity, InstanceNorm1d, InstanceNorm2d, LayerNorm, LeakyReLU, Linear, ReLU, RMSNorm,
                     Sequential, Sigmoid, SiLU, Softplus, Tanh, Upsample)
from .module import Module, Parameter
from .pooling import (AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d,
                      MaxPool1d, MaxPool2d)
from .recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from .transformer import (Transformer, TransformerDecoder, TransformerDecoderLayer, TransformerEncoder,
                          TransformerEncoderLayer)
