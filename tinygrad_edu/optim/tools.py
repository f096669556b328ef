"""Around the step: limiting gradients before it, averaging weights after it, and looking for its length."""
import math

from .. import autograd, backend


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False):
    """Scale all gradients by one factor so that their joint norm is at most `max_norm`: min(norm, max_norm).

    norm_type: p of (sum |g|^p)^(1/p), or infinity, the largest |g|. Returns the norm before, as a 0-d array. It may be NaN,
    and so are all gradients then, or with error_if_nonfinite an error. Pascanu et al. 2012, arXiv:1211.5063.
    """
    gradients = _gradients(parameters, "clip_grad_norm_")
    xp, p = backend.array_module(gradients[0]), float(norm_type)
    if p == 2:
        norm = xp.sqrt(sum((g * g).sum() for g in gradients))
    elif p == math.inf:
        norm = xp.stack([abs(g).max() for g in gradients]).max()
    else:
        norm = sum((abs(g) ** p).sum() for g in gradients) ** (1 / p)
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(f"clip_grad_norm_: got gradients of norm {float(norm)}, expected a finite one; "
                           "detect_anomaly() finds where it began")
    scale = xp.minimum(max_norm / (norm + 1e-30), 1.0)          # PyTorch adds 1e-6: then the new norm misses max_norm
    for g in gradients:
        g *= scale.astype(g.dtype)
    return norm


def clip_grad_value_(parameters, clip_value):
    """Cut every number of every gradient to [-clip_value, clip_value]. This may turn the gradient; clip_grad_norm_ does not."""
    for g in _gradients(parameters, "clip_grad_value_"):
        backend.array_module(g).clip(g, -clip_value, clip_value, out=g)


def lr_range_test(optimizer, train_step, start=1e-5, end=10.0, steps=100, smoothing=0.9):
    """Let the lr grow from `start` to `end` by the same factor at every step, and watch the loss: (lrs, losses), two lists.

    train_step() does one step of training and returns its loss. losses: an average that forgets by `smoothing` a step.
    Stops early once the loss is not finite or 4 times the least. The weights have moved, so use a copy; the lr is put back.
    A good lr lies well below the least loss, where it falls fastest. Smith 2015, arXiv:1506.01186.
    """
    before, lrs, losses, average = [group["lr"] for group in optimizer.param_groups], [], [], 0.0
    for step in range(steps):
        lr = start * (end / start) ** (step / max(1, steps - 1))
        for group in optimizer.param_groups:
            group["lr"] = lr
        average = smoothing * average + (1 - smoothing) * float(train_step())
        loss = average / (1 - smoothing ** (step + 1))
        if not math.isfinite(loss) or (losses and loss > 4 * min(losses)):
            break
        lrs.append(lr)
        losses.append(loss)
    for group, lr in zip(optimizer.param_groups, before):
        group["lr"] = lr
    return lrs, losses


def _gradients(parameters, caller):
    gradients = [p.grad.data for p in parameters if p.grad is not None and p.size]
    if not gradients:
        raise ValueError(f"{caller}: no parameter has a gradient; call it between backward() and step()")
    return gradients


class EMA:
    """An exponential moving average of a module's parameters: average <- decay average + (1 - decay) parameter.

    The samples of diffusion models and GANs are drawn with it. Early on the average follows faster, (1 + t) / (10 + t), so
    that it forgets where training began.
    """

    def __init__(self, module, decay=0.999):
        self.module, self.decay, self.t = module, decay, 0
        self.averages = [p.data.copy() for p in module.parameters()]

    def update(self):
        """Take in the parameters as they are now."""
        self.t += 1
        decay = min(self.decay, (1 + self.t) / (10 + self.t))
        for average, p in zip(self.averages, self.module.parameters()):
            average += (1 - decay) * (p.data - average)

    def swap(self):
        """Exchange the parameters and their averages; calling it again brings them back."""
        for i, p in enumerate(self.module.parameters()):
            kept = p.data.copy()
            p.data[...] = self.averages[i]
            self.averages[i] = kept
            autograd.mark_written(p.data)

    def state_dict(self):
        """{"t": updates, "averages": {name of the parameter: array}}, all copies."""
        names = [name for name, _ in self.module.named_parameters()]
        return {"t": self.t, "averages": {name: average.copy() for name, average in zip(names, self.averages)}}

    def load_state_dict(self, state):
        """Take over what `state_dict` gave. Names and shapes must match, or nothing is changed."""
        shapes = {name: tuple(average.shape) for name, average in state["averages"].items()}
        expected = {name: p.shape for name, p in self.module.named_parameters()}
        if wrong := sorted(name for name in shapes.keys() | expected.keys() if shapes.get(name) != expected.get(name)):
            raise ValueError(f"EMA.load_state_dict: got {wrong[0]} of shape {shapes.get(wrong[0])}, "
                             f"expected {expected.get(wrong[0])}")
        self.t = state["t"]
        for average, name in zip(self.averages, expected):
            average[...] = backend.to_device(state["averages"][name], backend.device_of(average))
