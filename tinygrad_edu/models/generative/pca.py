"""Principal component analysis. K. Pearson 1901, On lines and planes of closest fit; H. Hotelling 1933.
As a density: M. Tipping, C. Bishop 1999, Probabilistic principal component analysis, J. R. Stat. Soc. B 61.

Of all flat surfaces of k dimensions, the one through the mean along the k eigenvectors of the covariance with the
largest eigenvalues lies closest to the data. What it misses is, on the data it was fitted to, exactly the sum of the
other eigenvalues. Tipping and Bishop spread that rest evenly over the missing directions, variance sigma^2 in each of
them, and get a Gaussian: something to draw from. Left out: their EM algorithm, missing values, mixtures.
"""
import math

from ...creation import randn
from ...ops import log, mean, square, sqrt, sum
from ...ops.linalg import eigh
from ...tensor import as_tensor


class PCA:
    """k directions of largest variance. Nothing is learned by gradient, everything is there after `fit`:

    mean (D,), components (k, D) with orthonormal rows, eigenvalues (D,) of the covariance, largest first. Takes arrays
    or Tensors, gives Tensors; encode and decode are differentiable in their argument.
    """

    def __init__(self, k):
        self.k = k

    def fit(self, x):
        """Find the directions of x (N, D), floats. The covariance is divided by N, not N - 1. Returns self."""
        x = as_tensor(x).detach()
        if x.ndim != 2 or not 1 <= self.k <= x.shape[1] or not len(x):
            raise ValueError(f"PCA: got data of shape {x.shape} and k = {self.k}, expected (N, D), 1 <= k <= D")
        self.mean = mean(x, axis=0)
        centered = x - self.mean

        eigenvalues, vectors = eigh(centered.T @ centered / len(x))         # ascending; vectors are columns
        self.eigenvalues = eigenvalues[::-1].clip(0, None)                  # rounding may leave -1e-9 for a 0
        self.components = vectors.T[::-1][:self.k]                          # (k, D)
        return self

    def encode(self, x):
        """z = V (x - mean): x (N, D) -> coordinates (N, k)."""
        return (as_tensor(x) - self.mean) @ self.components.T

    def decode(self, z):
        """x = V' z + mean: z (N, k) -> points (N, D) of the surface."""
        return as_tensor(z) @ self.components + self.mean

    def explained_variance(self):
        """Share of the variance along the k directions, 0..1."""
        return self.eigenvalues[:self.k].sum().item() / self.eigenvalues.sum().item()

    # ------------------------------------------------------------ as a density

    @property
    def noise_variance(self):
        """sigma^2: the mean of the D - k eigenvalues that were dropped, 0 if none was."""
        return mean(self.eigenvalues[self.k:]).item() if self.k < len(self.mean) else 0.0

    def sample(self, n, noise=False):
        """n draws (n, D): codes from N(0, diag(eigenvalues)), decoded; `noise` adds sigma in each missing direction.

        With the noise these are draws of Tipping & Bishop's x = W z + mean + sigma e, which has the same covariance,
        W W' + sigma^2 I = V' diag(eigenvalues) V + sigma^2 (I - V' V).
        """
        like = dict(dtype=self.mean.dtype, device=self.mean.device)
        x = self.decode(randn(n, self.k, **like) * sqrt(self.eigenvalues[:self.k]))
        if noise:
            e = randn(n, len(self.mean), **like)
            x = x + math.sqrt(self.noise_variance) * (e - e @ self.components.T @ self.components)
        return x

    def log_prob(self, x):
        """ln of Tipping & Bishop's Gaussian at x (N, D), nats (N,). Needs sigma^2 > 0."""
        if not self.noise_variance > 0:
            raise ValueError(f"PCA.log_prob: got k = {self.k} and no variance beyond, expected a smaller k")
        x, kept, sigma2 = as_tensor(x), self.eigenvalues[:self.k], self.noise_variance
        z = self.encode(x)
        missed = sum(square(x - self.decode(z)), axis=1)                    # (N,) squared distance to the surface

        D = len(self.mean)
        log_det = sum(log(kept)) + (D - self.k) * math.log(sigma2)
        return -0.5 * (sum(square(z) / kept, axis=1) + missed / sigma2 + log_det + D * math.log(2 * math.pi))
