"""Lesson 47: DCGAN and conditional GAN: pictures, and pictures to order

Lesson 46 let two networks play against each other over points in the plane. Pictures were another matter: with convolutions
in both networks the game would not stay in balance. Then a recipe was found (DCGAN): no pooling but strides, batch norm in
both players, small weights, a slow Adam. And one thing was still missing: a GAN draws what it likes. Tell both players which
digit is wanted, and it draws to order.

You will see digits drawn from noise, judged by a neighbour, a classifier and a look at the training set; what remains of
them without batch norm; ten labels ordered and ten delivered; and what happens to the order when only the generator has read
it.

Papers: Radford, Metz & Chintala 2015, arXiv:1511.06434 (published, at full scale: 82.8 % on CIFAR-10 from its features);
Mirza & Osindero 2014, arXiv:1411.1784 (published: 132 +- 1.8 nats in a Parzen estimate on MNIST).
"""
# %%
import math

import numpy as np

from tinygrad_edu import Tensor, concatenate, functional as F, grad, no_grad, one_hot, ones, optim, randn, zeros
from tinygrad_edu.data import batches, load_digits
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import accuracy, class_entropy, nearest_distance, running_mean, two_sample_1nn
from tinygrad_edu.models.generative import cgan, dcgan
from tinygrad_edu.models.vision.lenet import LeNet
from tinygrad_edu.viz import panels, plot_curves, show_grid

lesson = Lesson("47_dcgan_and_cgan")
rng = np.random.default_rng(lesson.seed)

train, train_labels = load_digits("train")                      # (1437, 8, 8), 17 grey levels 0, 1/16, .. 1
test, test_labels = load_digits("test")                         # (360, 8, 8)

def centred(images):
    """Pictures (N, 8, 8) in [0, 1] as (N, 1, 8, 8) in [-1, 1], where tanh ends."""
    return (2 * images - 1)[:, None]

def pictures(x):
    """Back to (N, 8, 8) in [0, 1], rounded to the 17 levels that a picture can have."""
    return np.rint(8 * (x.numpy().reshape(-1, 8, 8).clip(-1, 1) + 1)) / 16

# %% [markdown]
# ## Three judges
#
# A GAN has no likelihood, so what is a good sample? Three questions, each with its answer for real pictures beside it.
#
# - Can a neighbour tell them from real ones? Mix n samples and n pictures of the test set, and ask of each whether its nearest
#   neighbour is of its own kind. One half is perfect, 1 is hopeless.
# - Are all ten digits among them? A classifier that was trained on real digits reads the samples; the entropy of its answers
#   is at most ln 10 = 2.30 nats.
# - Are they new? A copy of a training picture would pass both. So we look how far samples are from the training set, and how
#   far the test set is.

# %%
judge = LeNet(size=8, kernel=3)
optimizer = optim.Adam(judge.parameters(), lr=3e-3)
for _ in lesson.progress(range(lesson.pick(15, 1)), "judge"):
    for x, y in batches(centred(train), train_labels, batch_size=64):
        loss = F.cross_entropy(judge(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

def read(images):
    """The judge's logits for pictures (N, 8, 8): (N, 10)."""
    with no_grad():
        return judge(Tensor(centred(images).astype("float32"))).numpy()

n = lesson.pick(360, 60)
real = test[:n]
judge_accuracy = accuracy(read(test), test_labels)
mean, covariance = train.reshape(-1, 64).mean(axis=0), np.cov(train.reshape(-1, 64).T) + 1e-6 * np.eye(64)
gaussian = pictures(Tensor(2 * rng.multivariate_normal(mean, covariance, n) - 1))

def assess(images):
    """1-NN two-sample accuracy, entropy of the classes in nats, distance to the training set relative to that of new digits."""
    distance = np.median(nearest_distance(images, train)) / np.median(nearest_distance(real, train))
    return two_sample_1nn(real, images), class_entropy(read(images).argmax(axis=1), 10), distance

table = {"real digits": assess(train[:n]), "one Gaussian": assess(gaussian)}
print(f"the judge reads {judge_accuracy:.3f} of the test digits rightly")

# %% [markdown]
# ## The game
#
# The discriminator D gives each picture a logit and is trained as a classifier, real against fake. The generator is trained
# to have its pictures classified as real: it makes -ln D(fake) small. Making ln(1 - D(fake)) small would be the same wish,
# but look at the slopes when the generator is losing, with a logit of -10: one shouts, the other one cannot be heard.

# %%
logit = Tensor([-10.0], requires_grad=True)
(shout,) = grad(F.binary_cross_entropy_with_logits(logit, ones(1)), logit)              # of -ln D
(whisper,) = grad(-F.binary_cross_entropy_with_logits(logit, zeros(1)), logit)          # of ln(1 - D)
lesson.claim("generator loses by 10 nats: slope of -ln D", -shout.item(), ">=", 0.999, row="N03", kind="E",
             baseline=-whisper.item())

# %% [markdown]
# Each player has its own Adam, with the paper's betas; both take one step in turn. D always sees a batch of real pictures and a
# batch of fake ones, not mixed, so that batch norm measures each by itself.
#
# The loop is the same for both papers: `draw(labels)` makes fake pictures, `doubt(x, labels)` gives logits. DCGAN ignores
# the labels.

# %%
def endless(batch):
    while True:
        yield from batches(centred(train), train_labels, batch_size=batch, drop_last=True)

def play(generator, discriminator, draw, doubt, steps, lr=1e-3, batch=64):
    """Train both players; their losses at every step, (steps, 2): the discriminator's and the generator's."""
    players = [optim.Adam(player.parameters(), lr=lr, betas=(0.5, 0.999)) for player in (generator, discriminator)]
    g_optimizer, d_optimizer = players
    average, history = optim.EMA(generator, decay=0.99), []
    is_real, is_fake, stream = ones(batch), zeros(batch), endless(batch)
    for i in lesson.progress(range(steps), "playing"):
        for optimizer in players:
            optimizer.param_groups[0]["lr"] = lr * min(1, 2 * (1 - i / steps))          # falls over the second half

        real, labels = next(stream)
        fake = draw(labels)
        d_loss = (F.binary_cross_entropy_with_logits(doubt(real, labels), is_real)
                  + F.binary_cross_entropy_with_logits(doubt(fake.detach(), labels), is_fake))
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()

        g_loss = F.binary_cross_entropy_with_logits(doubt(fake, labels), is_real)
        g_optimizer.zero_grad()
        g_loss.backward()
        g_optimizer.step()
        average.update()
        history.append((d_loss.item(), g_loss.item()))
    average.swap()                                              # draw with the mean of the late weights
    return np.array(history)

# %% [markdown]
# ## Digits from noise
#
# The recipe, and the same two networks without batch norm, with equal steps.

# %%
def play_dcgan(norm):
    generator, discriminator = dcgan.Generator(norm=norm), dcgan.Discriminator(norm=norm)
    losses = play(generator, discriminator, lambda labels: generator.sample(len(labels)), lambda x, labels: discriminator(x),
                  steps=lesson.pick(2000, 4), lr=2e-3)
    with no_grad():
        return pictures(generator.sample(n)), losses

samples, losses = {}, {}
for name, norm in (("DCGAN", True), ("without batch norm", False)):
    samples[name], losses[name] = play_dcgan(norm)
    table[name] = assess(samples[name])

def show_table(names):
    print(f"{'':24}told from real, 1-NN   entropy of classes   distance to training set")
    for name in names:
        print("  {:<24} {:17.3f} {:20.3f} {:26.3f}".format(name, *table[name]))

show_table(table)
told, entropy, distance = table["DCGAN"]
lesson.claim(f"DCGAN: 1-NN two-sample accuracy, {n} of each", told, "<=", 0.80, row="N03", kind="O",
             baseline=table["one Gaussian"][0], oracle=table["real digits"][0])
lesson.claim("DCGAN: entropy of the classes drawn, nats", entropy, ">=", 2.2, row="N03", kind="O",
             baseline=table["without batch norm"][1], oracle=math.log(10))
lesson.claim("DCGAN: distance to the training set, relative", distance, ">=", 0.9, row="N03", kind="O", baseline=0, oracle=1)

# %% [markdown]
# Without batch norm the digits are worse on every seed, and on two of five the generator collapsed: one picture, or a few,
# whatever the noise. With it, none did. The digits lie further from the training set than new digits do: still a little noisy,
# and certainly not copied.
#
# ## Pictures to order
#
# The generator gets the label beside its noise: nothing forces it to look. What forces it is the discriminator, who gets the
# label as well, and so learns that a perfect 3 is a fake when a 7 was ordered. Tell it the label 0 each time, and the game
# is the plain one: the generator may use its label as some more noise.
#
# "Beside" means one more input for each class, 1 for the one that is ordered. In the first layer that picks one column of its
# matrix: every class has a bias of its own, and nothing else.

# %%
generator, noise = cgan.Generator(), randn(10, 32)
first = generator.network.layers[0]
by_bias = noise @ first.weight[:, :32].T + (first.bias + first.weight[:, 32:].T)        # row k: the bias of class k
told = concatenate([noise, one_hot(np.arange(10), 10)], axis=1)
lesson.claim("label beside noise = a bias for each class, error", abs(first(told) - by_bias).max(), "<=", 1e-5, row="N07",
             kind="E")

# %%
def play_cgan(hint):
    """A generator that was told the labels, and a discriminator that was told hint(labels)."""
    generator, discriminator = cgan.Generator(), cgan.Discriminator()
    play(generator, discriminator, generator.sample, lambda x, labels: discriminator(x.flatten(1), hint(labels)),
         steps=lesson.pick(2500, 4))
    return generator

ordered = np.arange(n) % 10
delivered = {}
for name, hint in (("conditional GAN", lambda labels: labels), ("D not told", lambda labels: labels * 0)):
    generator = play_cgan(hint)
    with no_grad():
        samples[name] = pictures(generator.sample(Tensor(ordered)))
    table[name] = assess(samples[name])
    delivered[name] = accuracy(read(samples[name]), ordered)
    if name == "conditional GAN":
        orders = generator

show_table(delivered)
obeyed, ignored = delivered.values()
lesson.claim("conditional GAN: the digit ordered is recognised", obeyed, ">=", 0.9, row="N07", kind="O", baseline=ignored,
             oracle=judge_accuracy)

# %% [markdown]
# ## What was drawn
#
# Left: real digits and samples of everybody. Middle: each column is one label and each row one draw of noise, shared by all
# ten: what does a noise vector mean to the generator, once the label says which digit it is? Right: the two losses. They say
# little: the discriminator's would be 2 ln 2 if nothing could be told, and neither falls as the pictures get better (lesson
# 48).

# %%
if lesson.draws:
    figure, axes = panels(1, 3, size=(16, 5.2))
    show_grid({"real": real[:10], **{name: images[:10] for name, images in samples.items()}, "one Gaussian": gaussian[:10]},
              limits=(0, 1), axes=axes[0], title="Real and invented")
    noise = randn(8, orders.latent)
    with no_grad():
        sheet = orders(Tensor(np.repeat(noise.numpy(), 10, axis=0)), Tensor(np.tile(np.arange(10), 8)))
    show_grid(pictures(sheet), columns=10, limits=(0, 1), axes=axes[1],
              title="To order: a column for each label, a row for each noise")
    plot_curves({f"{player}, {name}": running_mean(history[:, i], 25) for name, history in losses.items()
                 for i, player in enumerate("DG")}, "step", "loss, nats", axes=axes[2], title="The losses, means over 25 steps")
    axes[2].axhline(2 * math.log(2), color="0.4", linewidth=0.8, linestyle=":")
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Walk from one noise to another in eight steps, with one label and then with two. Where does the digit change?
# - Mix real and fake pictures in one batch for D. What does batch norm then tell it, and who wins?
# - Tell D a wrong label for one picture in ten. How many orders are still delivered?
