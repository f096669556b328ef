"""Sources of text: their entropies are exact, their answers are right."""
import datetime
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_edu import backend
from tinygrad_edu.data import text


def test_markov_by_hand():
    chain = text.Markov([[0.9, 0.1], [0.3, 0.7]])
    h = lambda p: -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert chain.stationary == pytest.approx([0.75, 0.25])
    assert chain.entropy_rate() == pytest.approx(0.75 * h(0.9) + 0.25 * h(0.7))
    assert text.Markov([[0, 1], [1, 0]]).entropy_rate() == 0
    assert text.Markov(np.full((5, 5), 0.2)).entropy_rate() == pytest.approx(math.log(5))
    assert text.Markov([[0, 1], [1, 0]]).sample(3, 4).tolist() in [[[a, b, a, b] for a, b in rows] for rows in
           [[p, q, r] for p in ((0, 1), (1, 0)) for q in ((0, 1), (1, 0)) for r in ((0, 1), (1, 0))]]


@given(st.integers(2, 8), st.integers(0, 99))
def test_markov_samples_have_the_promised_entropy(symbols, seed):
    backend.manual_seed(seed)
    chain = text.random_markov(symbols, 0.5)
    x = chain.sample(200, 100)
    p = chain.transition[x[:, :-1], x[:, 1:]]
    assert p.min() > 0 and x.min() >= 0 and x.max() < symbols
    nats = -np.log(p).mean(axis=1)
    assert abs(nats.mean() - chain.entropy_rate()) < 5 * nats.std() / math.sqrt(200) + 1e-9
    assert chain.stationary @ chain.transition == pytest.approx(chain.stationary, abs=1e-9)


@pytest.mark.parametrize("matrix", [[[0.5, 0.6], [0.5, 0.5]], [[1.0, 0.0]], [[1.5, -0.5], [0.5, 0.5]]])
def test_markov_refuses(matrix):
    with pytest.raises(ValueError, match="got a transition matrix .* expected"):
        text.Markov(matrix)


def test_grammar_by_hand():
    """S -> a S with 1/4, b with 3/4: length and entropy of a geometric distribution."""
    grammar = text.Grammar({"S": [(0.25, ("a", "S")), (0.75, ("b",))]})
    assert grammar.mean_length() == pytest.approx(4 / 3)
    assert grammar.entropy() == pytest.approx((-0.25 * math.log(0.25) - 0.75 * math.log(0.75)) * 4 / 3)
    words, nats = grammar.sample()
    assert words == ["a"] * (len(words) - 1) + ["b"]
    assert nats == pytest.approx(-(len(words) - 1) * math.log(0.25) - math.log(0.75))
    for wrong in ([(0.5, ("a",))], [(1.5, ("a",)), (-0.5, ("b",))]):
        with pytest.raises(ValueError, match="got probabilities .* expected"):
            text.Grammar({"S": wrong})


@pytest.mark.parametrize("grammar", [text.SENTENCES, text.RECIPES], ids=["sentences", "recipes"])
def test_grammars_have_the_promised_entropy(grammar):
    drawn = [grammar.sample() for _ in range(3000)]
    nats, lengths = np.array([nats for _, nats in drawn]), np.array([len(words) for words, _ in drawn])
    assert abs(nats.mean() - grammar.entropy()) < 4 * nats.std() / math.sqrt(3000)
    assert abs(lengths.mean() - grammar.mean_length()) < 4 * lengths.std() / math.sqrt(3000)

    known = {}                                                     # no sentence has two derivations of different probability
    assert all(abs(known.setdefault(" ".join(words), n) - n) < 1e-9 for words, n in drawn)
    most, count = Counter(" ".join(words) for words, _ in drawn).most_common(1)[0]
    share = math.exp(-known[most])                                 # and not two of the same, or it would come twice as often
    assert count / 3000 < 1.6 * share + 4 * math.sqrt(share / 3000)


def test_dates():
    pairs = text.dates(400)
    assert len({len(written.split()) for written, _ in pairs}) == 2
    for written, iso in pairs:
        date = datetime.date.fromisoformat(iso)
        day, month, year = str(date.day), text.MONTHS[date.month - 1], str(date.year)
        assert written in (f"{day} {month} {year}", f"{month} {day}, {year}", f"{month[:3]} {day} {year}",
                           f"{day}/{date.month}/{year}")


def test_number_words_by_hand():
    expected = {0: "zero", 13: "thirteen", 20: "twenty", 47: "forty-seven", 100: "one hundred", 512: "five hundred twelve",
                1000: "one thousand", 90_001: "ninety thousand one", 1234: "one thousand two hundred thirty-four"}
    assert {number: text.number_words(number) for number in expected} == expected
    for wrong in (-1, 1_000_000):
        with pytest.raises(ValueError, match="got .* expected"):
            text.number_words(wrong)
    with pytest.raises(ValueError, match="got 'dozen'"):
        text.read_number_words("one dozen")


@given(st.integers(0, 999_999))
def test_number_words_and_back(number):
    assert text.read_number_words(text.number_words(number)) == number


def test_reviews():
    texts, labels = text.reviews(4000)
    for sentence, label in zip(texts, labels):
        words = sentence.split()
        assert label == (("not" in words) != any(word in text.GOOD for word in words))
    for word in ("not", "good", "dull", "music", "loud"):           # no word alone says anything
        has = np.array([word in sentence.split() for sentence in texts])
        assert abs(labels[has].mean() - 0.5) < 4 * 0.5 / math.sqrt(has.sum())
    texts, labels = text.reviews(200, negated=0.0)
    assert not any("not" in sentence for sentence in texts) and 0 < labels.mean() < 1


def test_topics():
    counts, content, shares = text.topics(500, words=80)
    assert counts.shape == (500, 60) and (counts.sum(axis=1) == 80).all()
    assert np.allclose(content.sum(axis=1), 1) and np.allclose(shares.sum(axis=1), 1)
    expected = 80 * shares @ content
    assert ((counts - expected) ** 2 / expected).mean() == pytest.approx(1 - (shares @ content).mean(), rel=0.15)
    assert all(content[k, 15 * k:15 * k + 15].sum() > 0.9 for k in range(4))


@given(pairs=st.integers(1, 6), seed=st.integers(0, 99))
def test_key_value_maps(pairs, seed):
    backend.manual_seed(seed)
    x, y = text.key_value_maps(30, pairs, keys=6, values=5)
    assert x.shape == (30, 2 * pairs + 1)
    for row, answer in zip(x, y):
        table = dict(zip(row[:-1:2].tolist(), row[1::2].tolist()))
        assert len(table) == pairs and table[row[-1]] == answer and 6 <= answer < 11
    with pytest.raises(ValueError, match="got 7 pairs"):
        text.key_value_maps(1, 7, keys=6)
