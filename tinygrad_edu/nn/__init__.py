"""Floor 4: modules with parameters. Names, shapes, defaults and initialization as in PyTorch."""
from .activation import GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from .attention import MultiheadAttention
from .containers import Identity, Sequential
from .convolution import Conv2d, ConvTranspose1d, ConvTranspose2d
from .dropout import Dropout
from .linear import Embedding, Linear
from .module import Module, Parameter
from .normalization import BatchNorm1d, BatchNorm2d, GroupNorm, InstanceNorm1d, InstanceNorm2d, LayerNorm, RMSNorm
from .pooling import (AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d,
                      MaxPool1d, MaxPool2d)
from .recurrent import GRU, LSTM, RNN
from .shape import Flatten, Upsample
