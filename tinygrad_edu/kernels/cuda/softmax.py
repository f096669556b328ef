"""The faces of softmax and log-softmax that launch their CUDA kernels."""
from .. import softmax
from .launch import launch, threads_for


class Softmax(softmax.Softmax):
    """A row is read twice, once from the cache, and written once."""
    prefix = "softmax"

    def normalize(self, x, y):
        M, D = x.shape
        launch("softmax", f"{self.prefix}_forward", M, threads_for(D), self.xp.ascontiguousarray(x), D, y)

    def undo(self, y, gy, gx):
        M, D = y.shape
        launch("softmax", f"{self.prefix}_backward", M, threads_for(D), y, self.xp.ascontiguousarray(gy), D, gx)


class LogSoftmax(Softmax):
    """The same for the logarithm, with kernels of its own."""
    prefix, reference = "log_softmax", softmax.LogSoftmax.reference


softmax.Softmax.cuda, softmax.LogSoftmax.cuda = Softmax, LogSoftmax
