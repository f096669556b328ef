"""Around the step: limiting gradients before it, averaging weights after it."""
from .. import autograd, backend


def clip_grad_norm_(parameters, max_norm):
    """Scale all gradients by one factor so that their joint Euclidean norm is at most `max_norm`.

    Returns the norm before, as a 0-d array. Pascanu et al. 2012, arXiv:1211.5063.
    """
    gradients = [p.grad.data for p in parameters if p.grad is not None]
    if not gradients:
        raise ValueError("clip_grad_norm_: no parameter has a gradient; call it between backward() and step()")
    xp = backend.array_module(gradients[0])
    norm = xp.sqrt(sum((g * g).sum() for g in gradients))
    scale = xp.minimum(max_norm / (norm + 1e-6), 1.0)
    for g in gradients:
        g *= scale.astype(g.dtype)
    return norm


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
