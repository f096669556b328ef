"""The multilayer perceptron. Rumelhart, Hinton & Williams 1986, Learning representations by back-propagating errors.

Layers of neurons, each a weighted sum bent by a nonlinearity. The bend is the point: without it any number of layers is one
matrix. With it, one hidden layer can approximate every continuous function (Cybenko 1989).
"""
from ...nn import Linear, Module, ReLU, Sequential


class MLP(Module):
    """x (N, sizes[0]) -> (N, sizes[-1]) through hidden layers of the sizes between, a nonlinearity after each but the last."""

    def __init__(self, *sizes, activation=ReLU):
        layers = []
        for inputs, outputs in zip(sizes, sizes[1:]):
            layers += [Linear(inputs, outputs), activation()]
        self.layers = Sequential(*layers[:-1])

    def forward(self, x):
        return self.layers(x)
