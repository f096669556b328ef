"""Floor 4: optimizers and learning rate schedules, in PyTorch's names and semantics."""
from . import schedulers as lr_scheduler
from .optimizer import Optimizer
from .optimizers import LAMB, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Lion, NAdam, RAdam, RMSprop
from .tools import EMA, clip_grad_norm_, clip_grad_value_, lr_range_test
