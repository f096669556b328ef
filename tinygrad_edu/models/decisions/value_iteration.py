"""Value iteration. R. Bellman 1957, Dynamic Programming.

A world of numbered states: action a leads from s to t with probability P(t | s, a) and pays r(s, a) on average; what comes k
steps later counts gamma^k. The value of a state is what the best that can be done from there earns, and it obeys Bellman's
equation: the best action's pay, and gamma times the value of where it leads. Value iteration reads the equation as an
assignment and repeats it. One round brings any two guesses closer by gamma, so there is one solution, and all guesses go there.
"""
import numpy as np


def look_ahead(values, transition, reward, gamma):
    """Q(s, a) = r(s, a) + gamma sum_t P(t | s, a) V(t).  (S,), (S, A, S), (S, A) -> (S, A)"""
    return reward + gamma * transition @ values


def value_iteration(values, transition, reward, gamma, rounds):
    """V <- max_a Q(s, a), again and again. The guess `values` (S,) and what each round made of it: (rounds + 1, S)."""
    guesses = [values]
    for _ in range(rounds):
        guesses.append(look_ahead(guesses[-1], transition, reward, gamma).max(axis=1))
    return np.stack(guesses)


def greedy(q):
    """The policy that takes the best action of each state, as probabilities: (S, A) -> (S, A)."""
    return np.eye(q.shape[1])[q.argmax(axis=1)]
