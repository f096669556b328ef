"""Floor 4: optimizers and learning rate schedules, in PyTorch's names and semantics."""
from . import schedulers as lr_scheduler
from .optimizer import Optimizer
from .optimizers import SGD, Adam, AdamW, RMSprop
from .tools import EMA, clip_grad_norm_
