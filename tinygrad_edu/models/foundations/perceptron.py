"""The perceptron. F. Rosenblatt 1958, The perceptron: a probabilistic model for information storage and organization.

A neuron that says sign(w . x). It learns only from its mistakes: shown a point x of class t (-1 or +1) that it gets wrong, it
adds t x to w, which turns the line towards the right answer. If some line separates the classes with margin gamma and all
points lie within radius R, it makes at most (R / gamma)^2 mistakes, ever (Novikoff 1962). If none does, it never stops.
"""
import numpy as np


class Perceptron:
    """sign(w . (x, 1)): points (N, D) to -1 or +1. No gradient: this is from before there were any."""

    def __init__(self, features):
        self.w = np.zeros(features + 1)
        self.mistakes = 0

    def predict(self, x):
        """The class, -1 or +1, of points x (N, D)."""
        return np.where(self._with_one(x) @ self.w > 0, 1, -1)

    def sweep(self, x, t):
        """Show every point once, learning from the wrong ones; returns how many were wrong. x (N, D), t (N,) in {-1, +1}."""
        before = self.mistakes
        for point, target in zip(self._with_one(x), t):
            if target * (point @ self.w) <= 0:
                self.w += target * point
                self.mistakes += 1
        return self.mistakes - before

    @staticmethod
    def _with_one(x):
        """A constant 1 as last feature, so that the last weight is the threshold."""
        return np.hstack([x, np.ones((len(x), 1))])
