"""Floor 4: optimizers, in PyTorch's names and semantics."""
from .optimizer import Optimizer
from .optimizers import SGD, Adam, AdamW, RMSprop
from .tools import EMA, clip_grad_norm_
