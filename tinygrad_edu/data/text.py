"""Languages whose entropy is known, and small tasks of reading and writing whose right answers are.

No model can predict a source with fewer nats a symbol than its entropy rate, so a lesson can say how far from perfect it is.
All draws are from backend.generator().
"""
import math
import re

import numpy as np

from .. import backend


# ---------------------------------------------------------------- sources with known entropy

class Markov:
    """A chain of symbols 0..K-1: the next one depends on the last, with probabilities `transition` (K, K), rows sum to 1."""

    def __init__(self, transition):
        self.transition = np.asarray(transition, np.float64)
        shape = self.transition.shape
        if len(shape) != 2 or shape[0] != shape[1] or self.transition.min() < 0 or not np.allclose(self.transition.sum(1), 1):
            raise ValueError(f"Markov: got a transition matrix {shape}, expected (K, K), not negative, with rows that sum to 1")
        # stationary: pi (P - I) = 0 and sum(pi) = 1
        equations = np.vstack([self.transition.T - np.eye(shape[0]), np.ones(shape[0])])
        self.stationary = np.linalg.lstsq(equations, np.append(np.zeros(shape[0]), 1), rcond=None)[0]

    def sample(self, n, steps):
        """Sequences int64 (n, steps); the first symbol is drawn from the stationary distribution."""
        rows = np.cumsum(self.transition, axis=1)
        draws = backend.generator().random((n, steps))
        symbols = np.empty((n, steps), np.int64)
        last = len(rows) - 1
        symbols[:, 0] = np.searchsorted(np.cumsum(self.stationary), draws[:, 0]).clip(max=last)
        for t in range(1, steps):
            symbols[:, t] = (rows[symbols[:, t - 1]] < draws[:, t, None]).sum(axis=1).clip(max=last)
        return symbols

    def entropy_rate(self):
        """Nats a symbol: sum_i pi_i H(row i)."""
        p = self.transition
        return float(-self.stationary @ np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(axis=1))


def random_markov(symbols, concentration=0.3):
    """A Markov chain with rows drawn from a Dirichlet distribution; a small concentration makes it predictable."""
    return Markov(backend.generator().dirichlet(np.full(symbols, concentration), symbols))


class Grammar:
    """A probabilistic context-free grammar. `rules`: {name: [(probability, (symbol, ..)), ..]}; what is no name is a word.

    The entropies are those of derivations. They are those of sentences if no sentence has two, as in the grammars below.
    """

    def __init__(self, rules, start="S"):
        self.rules, self.start = rules, start
        self.names = list(rules)
        for name, options in rules.items():
            shares = [p for p, _ in options]
            if not math.isclose(sum(shares), 1, abs_tol=1e-9) or min(shares) <= 0:
                raise ValueError(f"Grammar: got probabilities {shares} for {name}, expected positive ones, sum 1")

    def sample(self):
        """(words, nats): one sentence as a list of words, and -ln of its derivation's probability."""
        words, nats, stack = [], 0.0, [self.start]
        while stack:
            symbol = stack.pop()
            if symbol not in self.rules:
                words.append(symbol)
                continue
            options = self.rules[symbol]
            chosen = options[backend.generator().choice(len(options), p=[p for p, _ in options])]
            nats -= math.log(chosen[0])
            stack += reversed(chosen[1])
        return words, nats

    def entropy(self):
        """Nats of a sentence: H(A) = sum_rules p (-ln p + sum of H of the names on the right), a linear system."""
        return self._expected(lambda p, right: -math.log(p))

    def mean_length(self):
        """Words in a sentence on average."""
        return self._expected(lambda p, right: sum(symbol not in self.rules for symbol in right))

    def _expected(self, own):
        """E of a sum over the rules of a derivation of `own(p, right)`."""
        at = {name: i for i, name in enumerate(self.names)}
        matrix, constant = np.eye(len(at)), np.zeros(len(at))
        for name, options in self.rules.items():
            for p, right in options:
                constant[at[name]] += p * own(p, right)
                for symbol in right:
                    if symbol in at:
                        matrix[at[name], at[symbol]] -= p
        return float(np.linalg.solve(matrix, constant)[at[self.start]])


def _evenly(*choices):
    return [(1 / len(choices), tuple(choice.split())) for choice in choices]


SENTENCES = Grammar({
    "S": [(1.0, ("NP", "VP", "."))],
    "NP": [(0.7, ("the", "N")), (0.3, ("the", "A", "N"))],
    "VP": [(0.4, ("VI",)), (0.4, ("VT", "NP")), (0.2, ("says", "that", "NP", "VP"))],
    "N": _evenly("cat", "dog", "child", "bird"), "A": _evenly("small", "old", "happy"),
    "VI": _evenly("sleeps", "sings", "waits"), "VT": _evenly("sees", "likes", "follows")})

RECIPES = Grammar({
    "S": [(1.0, ("TITLE", ":", "STEPS", "serve", "HOW", "."))],
    "TITLE": _evenly("soup", "stew", "salad", "pie"),
    "STEPS": [(0.3, ("STEP",)), (0.7, ("STEP", "STEPS"))],
    "STEP": [(0.5, ("V", "the", "FOOD", ",")), (0.5, ("add", "AMOUNT", "of", "FOOD", ","))],
    "V": _evenly("chop", "boil", "fry", "bake"), "AMOUNT": _evenly("a cup", "a spoon", "two cups"),
    "FOOD": _evenly("onions", "carrots", "beans", "rice", "garlic", "tomatoes"), "HOW": _evenly("warm", "cold", "at once")})


# ---------------------------------------------------------------- writing it another way

MONTHS = "january february march april may june july august september october november december".split()
UNITS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
         "eighteen nineteen").split()
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()


def dates(n):
    """n pairs of a date as people write it, in one of four ways, and as computers do: ("march 3, 1998", "1998-03-03")."""
    rng, pairs = backend.generator(), []
    for year, month, day, way in rng.integers((1900, 1, 1, 0), (2100, 13, 29, 4), (n, 4)):
        name = MONTHS[month - 1]
        written = (f"{day} {name} {year}", f"{name} {day}, {year}", f"{name[:3]} {day} {year}", f"{day}/{month}/{year}")[way]
        pairs.append((written, f"{year}-{month:02}-{day:02}"))
    return pairs


def number_words(number):
    """An integer 0..999,999 in words: 1234 -> "one thousand two hundred thirty-four"."""
    if not 0 <= number < 1_000_000:
        raise ValueError(f"number_words: got {number}, expected 0..999999")
    thousands, rest = divmod(number, 1000)
    if thousands:
        return f"{number_words(thousands)} thousand" + (f" {number_words(rest)}" if rest else "")
    hundreds, rest = divmod(rest, 100)
    if hundreds:
        return f"{UNITS[hundreds]} hundred" + (f" {number_words(rest)}" if rest else "")
    return UNITS[rest] if rest < 20 else TENS[rest // 10] + (f"-{UNITS[rest % 10]}" if rest % 10 else "")


def read_number_words(words):
    """The integer that number_words wrote."""
    total = current = 0
    for word in re.split(r"[ -]", words):
        if word in UNITS:
            current += UNITS.index(word)
        elif word in TENS[2:]:
            current += 10 * TENS.index(word)
        elif word == "hundred":
            current *= 100
        elif word == "thousand":
            total, current = 1000 * current, 0
        else:
            raise ValueError(f"read_number_words: got {word!r}, expected number words")
    return total + current


# ---------------------------------------------------------------- understanding

GOOD, BAD = ("good", "great", "moving", "funny"), ("bad", "dull", "silly", "weak")
PARTS, NEUTRAL = ("film", "story", "music", "acting", "ending"), ("long", "loud", "old", "short")


def reviews(n, negated=0.5):
    """n reviews of one sentence and labels int64 (n,), 1 for praise: "the story was not dull but loud".

    A share `negated` has a "not", which turns the label over. At one half the words alone say nothing about the label:
    whoever ignores which words are there together is right half the time.
    """
    rng, texts = backend.generator(), []
    praise, turned = rng.random(n) < 0.5, rng.random(n) < negated
    for liked, no in zip(praise, turned):
        word = rng.choice(GOOD if liked != no else BAD)
        texts.append(f"the {rng.choice(PARTS)} was {'not ' if no else ''}{word} but {rng.choice(NEUTRAL)}")
    return texts, praise.astype(np.int64)


def topics(n, words=100, vocabulary=60, topics=4, alpha=0.2):
    """n documents from latent Dirichlet allocation (Blei, Ng & Jordan 2003), with their truth.

    Returns counts int64 (n, vocabulary), the topics' word shares (topics, vocabulary) and the documents' topic shares
    (n, topics). Each topic owns an equal part of the vocabulary, which has nine tenths of its probability.
    """
    rng, own = backend.generator(), vocabulary // topics
    content = np.full((topics, vocabulary), 0.1 / vocabulary)
    for k in range(topics):
        content[k, k * own:(k + 1) * own] += 0.9 * rng.dirichlet(np.ones(own))
    shares = rng.dirichlet(np.full(topics, alpha), n)
    mixed = shares @ content
    return rng.multinomial(words, mixed / mixed.sum(axis=1, keepdims=True)), content, shares


def key_value_maps(n, pairs=8, keys=16, values=16):
    """Look it up: sequences int64 (n, 2 pairs + 1), "k v k v .. k", and the value that belongs to the last key, int64 (n,).

    Keys are 0..keys-1, different in a sequence, values are keys..keys+values-1, and every sequence has a map of its own:
    nothing can be learned by heart.
    """
    if not 1 <= pairs <= keys:
        raise ValueError(f"key_value_maps: got {pairs} pairs and {keys} keys, expected at least one pair and as many keys")
    rng = backend.generator()
    k = rng.permuted(np.tile(np.arange(keys), (n, 1)), axis=1)[:, :pairs]
    v = keys + rng.integers(0, values, (n, pairs))
    asked, rows = rng.integers(0, pairs, n), np.arange(n)
    sequence = np.stack([k, v], axis=2).reshape(n, 2 * pairs)
    return np.concatenate([sequence, k[rows, asked][:, None]], axis=1), v[rows, asked]
