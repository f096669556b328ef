"""Lesson 05: From the perceptron to the multilayer perceptron

We can differentiate anything now (lesson 04). What shall we differentiate? The oldest trainable neuron needs no derivative
at all. It is a good place to start, because it comes with a theorem, and because it fails on four points.

You will see the perceptron stop within the number of mistakes that Novikoff promised in 1962, go around in circles on XOR,
and then one hidden layer do what it could not: bend the line. The same few lines of training loop draw the border between
two moons, and read handwritten digits better than any line can. Expected: moons above 0.97, digits above 0.965.

Papers: Rosenblatt 1958; Novikoff 1962; Rumelhart, Hinton & Williams 1986.
"""
# %%
import numpy as np

from tinygrad_edu import Tensor, functional as F, no_grad, optim
from tinygrad_edu.data import TwoMoons, batches, load_digits, load_mnist, separable, xor
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import accuracy
from tinygrad_edu.models.foundations.mlp import MLP
from tinygrad_edu.models.foundations.perceptron import Perceptron
from tinygrad_edu.viz import panels, regions2d

lesson = Lesson("05_perceptron_to_mlp", real_data="MNIST")

# %% [markdown]
# ## A neuron that learns from its mistakes
#
# A perceptron answers `sign(w . x)`. Shown a point it gets wrong, it adds the point, with the sign of its class, to `w`.
# Suppose some unit vector u separates the classes with room gamma on both sides. Every mistake lets `w . u` grow by at least
# gamma, but lets |w|^2 grow by at most R^2, because the point was on the wrong side. After k mistakes therefore
#
#     k gamma <= w . u <= |w| <= sqrt(k) R        and so        k <= (R / gamma)^2.
#
# No word about how many points there are, or in how many dimensions.

# %%
points, targets, separator = separable(400, margin=0.1)
perceptron = Perceptron(features=2)
while perceptron.sweep(points, targets):                    # sweep until a whole round passes without a mistake
    pass

inputs = np.hstack([points, np.ones((len(points), 1))])     # the perceptron appends a 1; so does the bound
gamma = (targets * (points @ separator)).min()
bound = (inputs ** 2).sum(axis=1).max() / gamma ** 2
lesson.claim("perceptron: mistakes until it never errs again", perceptron.mistakes, "<=", bound, row="A11", kind="E",
             oracle=bound)

# %% [markdown]
# ## Four points
#
# XOR: the answer is 1 if the two inputs differ. No line has (0,1) and (1,0) on one side and (0,0) and (1,1) on the other
# (Minsky & Papert 1969). The perceptron keeps correcting itself, and undoing its corrections, for ever.

# %%
corners, different = xor()
stubborn = Perceptron(features=2)
mistakes = [stubborn.sweep(corners, 2 * different - 1) for _ in range(1000)]
lesson.claim("perceptron on XOR: fewest mistakes in any of 1000 sweeps", min(mistakes), ">=", 1, row="A11", kind="E")

# %% [markdown]
# ## One layer more
#
# Put a layer of neurons in between and let each bend its answer: `W2 relu(W1 x + b1) + b2`. Now mistakes do not tell which
# weight to blame, but the derivative of a loss does, and lesson 01 computes it. This loop is the whole of training, and it
# will hardly change until lesson 64:

# %%
def train(model, x, y, epochs, batch_size, lr, watch=()):
    """Adam on the cross-entropy; returns copies of the model's classifier after the epochs in `watch`."""
    optimizer, snapshots = optim.Adam(model.parameters(), lr=lr), {}
    for epoch in lesson.progress(range(1, epochs + 1), "training"):
        for inputs, labels in batches(x, y, batch_size=batch_size):
            loss = F.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch in watch:
            snapshots[epoch] = model.state_dict()
    return snapshots

def predict(model, x):
    with no_grad():
        return model(Tensor(x)).argmax(axis=1).numpy()

# The same data, the same loop, with and without the hidden layer.
line, bent = MLP(2, 2), MLP(2, 16, 2)
train(line, corners, different, epochs=lesson.pick(500, 300), batch_size=4, lr=0.03)
train(bent, corners, different, epochs=lesson.pick(500, 300), batch_size=4, lr=0.03)
line_right = (predict(line, corners) == different).mean()
lesson.claim("XOR: a line, points right", line_right, "<=", 0.75, row="A12", kind="E", oracle=0.75)
lesson.claim("XOR: one hidden layer of 16, points right", (predict(bent, corners) == different).mean(), "==", 1.0,
             row="A12", kind="E", baseline=line_right)

# %% [markdown]
# ## Two moons
#
# Two interlocking arcs with noise 0.1 around them. A line cuts off the tips; the hidden layer follows the curve. Watch in the
# figure how the bend comes: after one epoch the network, too, still believes in something like a line.

# %%
moons = TwoMoons(noise=0.1)
(x, y), (test_x, test_y) = moons.labelled(1000), moons.labelled(1000)
watch = lesson.pick((1, 5, 20, 60), (1, 2, 3, 4))

moon_line, bent = MLP(2, 2), MLP(2, 64, 64, 2)
train(moon_line, x, y, watch[-1], batch_size=50, lr=3e-3)
snapshots = train(bent, x, y, watch[-1], batch_size=50, lr=3e-3, watch=watch)
line_accuracy = (predict(moon_line, test_x) == test_y).mean()
lesson.claim("two moons: test accuracy", (predict(bent, test_x) == test_y).mean(), ">=", 0.97, row="A12", kind="O",
             baseline=line_accuracy)
true_entropy, error = moons.entropy()
lesson.claim("two moons: entropy of the generator, nats", true_entropy, "in", (1.011 - 0.03, 1.011 + 0.03), row="X09", kind="E",
             oracle=1.011)

# %% [markdown]
# ## Handwritten digits
#
# 1,437 pictures of 8 x 8 pixels to learn from, 360 to be tested on. Logistic regression, the best that lines can do here,
# reads about 96.5 % of them. (With `--data FOLDER`: MNIST, 60,000 pictures of 28 x 28 and 10,000 to be tested on; a line reads
# about 92 % of these.)

# %%
def load(split):
    images, labels = load_mnist(split, lesson.data) if lesson.data else load_digits(split)
    return images.reshape(len(images), -1), labels

(images, labels), (test_images, test_labels) = load("train"), load("test")
pixels, epochs = images.shape[1], lesson.pick(80, 3) if lesson.data is None else lesson.pick(5, 1)
line, reader = MLP(pixels, 10), MLP(pixels, 512, 10)
train(line, images, labels, epochs, batch_size=64, lr=1e-2)
train(reader, images, labels, epochs, batch_size=64, lr=2e-3)
with no_grad():
    line_accuracy = accuracy(line(Tensor(test_images)), test_labels)
    reader_accuracy = accuracy(reader(Tensor(test_images)), test_labels)
lesson.claim("digits: test accuracy", reader_accuracy, ">=", 0.965, row="A12", kind="O", baseline=line_accuracy,
             oracle=0.989 if lesson.data is None else None)
lesson.claim("digits: pictures in 100 that the network reads beyond the line", 100 * (reader_accuracy - line_accuracy), ">", 0,
             row="A12", kind="C")

# The oracle is 1-nearest-neighbour: it stores every picture it has seen, which the network need not.

# %%
if lesson.draws:
    box = (-1.6, 2.6, -1.2, 1.7)
    figure, axes = panels(1, len(watch) + 1, size=(3.2 * (len(watch) + 1), 3.2))
    regions2d(lambda p: predict(moon_line, p), box, x[:300], y[:300], axes=axes[0], title="no hidden layer")
    for epoch, panel in zip(watch, axes[1:]):
        bent.load_state_dict(snapshots[epoch])
        regions2d(lambda p: predict(bent, p), box, x[:300], y[:300], axes=panel, title=f"epoch {epoch}")
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Replace ReLU by the identity in `MLP(2, 64, 64, 2)`: how many layers does it take to bend a line now?
# - Give the perceptron points with margin 0.01. Does it use up its bound?
# - Two hidden neurons can solve XOR in principle. How often does training find the solution? (Lesson 06 says why not always.)
