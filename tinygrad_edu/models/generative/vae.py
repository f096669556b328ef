"""The variational autoencoder. D. P. Kingma, M. Welling 2013, Auto-Encoding Variational Bayes, arXiv:1312.6114.

A picture x is explained by a few hidden numbers z, drawn from N(0, I): a decoder turns z into the probability of every
pixel. Which z explains a given x? An encoder answers with a distribution q(z|x), and Jensen's inequality gives a bound,

    ln p(x) >= E_q ln p(x|z) - KL(q(z|x) || N(0, I))        the evidence lower bound, ELBO = -(reconstruction + KL).

z is drawn as loc + scale * noise, so the gradient passes through the draw. Averaging k draws inside the logarithm gives
a tighter bound (Burda, Grosse, Salakhutdinov 2015, Importance Weighted Autoencoders, arXiv:1509.00519). Pixels are
Bernoulli; left out are the paper's Gaussian decoder and its variational treatment of the weights.
"""
import math

from ...autograd import no_grad
from ...creation import randn
from ...distributions import Bernoulli, Normal, kl_divergence
from ...nn import Module
from ...ops import broadcast_to, exp
from ..foundations.mlp import MLP


class VAE(Module):
    """Pictures x (N, features) of values 0..1 and codes z (N, latent); everything is in nats.

    `hidden`: the sizes of the encoder's hidden layers, which the decoder has in reverse.
    """

    def __init__(self, features=64, hidden=(256,), latent=8):
        self.encoder = MLP(features, *hidden, 2 * latent)
        self.decoder = MLP(latent, *reversed(hidden), features)
        self.latent = latent
        self.prior = Normal(0.0, 1.0)

    def encode(self, x):
        """q(z|x): a Normal with loc and scale (N, latent)."""
        h = self.encoder(x)                                                         # (N, 2 latent)
        return Normal(h[..., :self.latent], exp(0.5 * h[..., self.latent:]))        # the second half is ln scale^2

    def decode(self, z):
        """p(x|z): the logits of the pixels, (.., latent) -> (.., features)."""
        return self.decoder(z)

    def loss_terms(self, x):
        """(reconstruction, KL), means over the batch, nats an image; their sum is -ELBO, estimated with one z each."""
        q = self.encode(x)
        log_likelihood = Bernoulli(self.decode(q.rsample())).log_prob(x)            # (N, features)
        kl = kl_divergence(q, self.prior)                                           # (N, latent)
        return -log_likelihood.sum(axis=-1).mean(), kl.sum(axis=-1).mean()

    def elbo(self, x):
        """E_q ln p(x|z) - KL(q(z|x) || p(z)), the mean over the batch, estimated with one z for each image."""
        reconstruction, kl = self.loss_terms(x)
        return -(reconstruction + kl)

    def log_weights(self, x, k):
        """ln p(x, z) - ln q(z|x) for k draws z from q(z|x): x (N, features) -> (k, N)."""
        if k < 1:
            raise ValueError(f"VAE: got k = {k} draws, expected at least 1")
        q = self.encode(x)
        z = Normal(broadcast_to(q.loc, (k, *q.loc.shape)), q.scale).rsample()      # (k, N, latent)
        log_likelihood = Bernoulli(self.decode(z)).log_prob(broadcast_to(x, (k, *x.shape)))
        return (self.prior.log_prob(z) - q.log_prob(z)).sum(axis=-1) + log_likelihood.sum(axis=-1)

    def log_likelihood_bound(self, x, k):
        """IWAE-k (N,): ln of the mean of k weights p(x, z) / q(z|x). Its expectation rises with k, up to ln p(x)."""
        return self.log_weights(x, k).logsumexp(axis=0) - math.log(k)

    def sample(self, n, mean=False):
        """n pictures (n, features) of zeros and ones, outside the graph; with `mean` their pixels' probabilities."""
        with no_grad():
            pixels = Bernoulli(self.decode(randn(n, self.latent)))
            return pixels.probs if mean else pixels.sample()
