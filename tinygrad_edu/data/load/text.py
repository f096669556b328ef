"""Texts: Shakespeare, first names, recipes, English with its French, and sentences with their mood."""
from pathlib import Path

import numpy as np

from ..store import DataError, DataFile, read_checked
from .packed import decode, member, unzip

GITHUB = "https://raw.githubusercontent.com/"
SHAKESPEARE = DataFile("tiny_shakespeare", "input.txt", 1115394,
                       "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                       GITHUB + "karpathy/char-rnn/master/data/tinyshakespeare/input.txt")
NAMES = DataFile("names", "names.txt", 228145, "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
                 GITHUB + "karpathy/makemore/master/names.txt")
RECIPES = DataFile("recipes", "public_domain_recipes.zip", 319414,
                   "564c6f61a2c0d92e3f7fa551b5c019f74406ed32b4054b72d653c6d0b51927bf",
                   "https://github.com/ronaldl29/public-domain-recipes/archive/refs/heads/master.zip", derived=True)
FRENCH = DataFile("fra_eng_subset", "fra-eng.zip", 1152705,
                  "ab8830a8e46ee594d83b4a02267dc5e6dadfef48ae7da869920d8e17e560ada8",
                  "http://www.manythings.org/anki/fra-eng.zip", derived=True)
POLARITY = DataFile("sentence_polarity", "sentence_polarity.zip", 490256,
                    "6e1ed4405b65c7eabf1d199a7f7c437091ac21da0ea7467b410a74062574566b",
                    GITHUB + "nltk/nltk_data/gh-pages/packages/corpora/sentence_polarity.zip")
REVIEWS = DataFile("movie_reviews_subset", "movie_reviews_subset.zip", 943775,
                   "12a5c8c2a1c1702ac12b2b58c7d2d407fdb6592714ef5b465e2f360457d92e9c",
                   GITHUB + "nltk/nltk_data/gh-pages/packages/corpora/movie_reviews.zip", derived=True)


# ---------------------------------------------------------------- the formats

def read_text(path, encoding="utf-8"):
    """The text in a file, line ends as they are. Raises DataError where bytes are no such text."""
    return decode(Path(path).read_bytes(), path, encoding)


def parse_lines(data, name, encoding="utf-8"):
    """The lines of a text, none empty. Only a line feed ends a line."""
    lines = decode(data, name, encoding).removesuffix("\n").split("\n")
    empty = [number for number, line in enumerate(lines, 1) if not line.strip()]
    if empty:
        raise DataError(f"{name}: got nothing in line {empty[0]}, expected text in every line")
    return lines


def parse_pairs(data, name):
    """[(sentence, translation)] from lines of two columns with a tab between; a third, an attribution, is left out."""
    rows = [line.split("\t") for line in parse_lines(data, name)]
    for number, row in enumerate(rows, 1):
        if len(row) not in (2, 3) or not row[0] or not row[1]:
            raise DataError(f"{name}: got {len(row)} columns in line {number}, expected 2 or 3 with text in the first two")
    return [(row[0], row[1]) for row in rows]


# ---------------------------------------------------------------- the data sets

def load_shakespeare(folder=None, download=False):
    """Tiny Shakespeare: one string of 1,115,394 characters, 65 different ones. Karpathy 2015, char-rnn."""
    return decode(*read_checked(SHAKESPEARE, folder, download), "ascii")


def load_names(folder=None, download=False):
    """32,033 first names of 2 to 15 letters a-z. Karpathy 2022, makemore.

    A bigram model with one count added to each pair needs 2.4546 nats a letter on them.
    """
    return parse_lines(*read_checked(NAMES, folder, download), "ascii")


def load_recipes(folder=None):
    """384 recipes as [(title, text)]; a text has headings "## Ingredients" and, nearly always, "## Directions"."""
    data, path = read_checked(RECIPES, folder)
    return [parse_recipe(decode(page, f"{path}/{name}"), f"{path}/{name}")
            for name, page in unzip(data, path).items() if name.startswith("content/")]


def parse_recipe(page, name):
    """(title, text) of a page that begins with a block of `key: value` lines between two lines "---"."""
    parts = page.replace("\r\n", "\n").split("---\n", 2)
    titles = [line[6:].strip().strip("\"'") for line in parts[1].split("\n") if line.startswith("title:")] if parts[1:] else []
    if len(parts) != 3 or parts[0].strip("\ufeff") or len(titles) != 1:
        raise DataError(f"{name}: got a page that begins with {page[:20]!r}, expected '---', one title, '---' and the text")
    return titles[0], parts[2].strip()


def load_french(folder=None):
    """79,778 pairs (English, French), shortest first. Tatoeba, CC BY 2.0, prepared by www.manythings.org/anki."""
    data, path = read_checked(FRENCH, folder)
    return parse_pairs(member(unzip(data, path), "fra.txt", path), f"{path}/fra.txt")


def load_polarity(folder=None, download=False):
    """10,662 sentences of film reviews, lower case, words apart, and labels int64: 5,331 of 1 (liked), then of 0.

    Pang, Lee 2005. Naive Bayes on words and pairs of words is right on 0.787 where every tenth sentence is held out.
    """
    data, path = read_checked(POLARITY, folder, download)
    files = unzip(data, path)
    good, bad = (parse_lines(member(files, f"sentence_polarity/rt-polarity.{mood}", path), f"{path}/rt-polarity.{mood}")
                 for mood in ("pos", "neg"))
    return good + bad, np.repeat([1, 0], [len(good), len(bad)])


def load_reviews(folder=None):
    """500 whole film reviews and labels int64: 250 of 1 (liked), then 250 of 0. Pang, Lee 2004.

    Naive Bayes is right on 0.83 where every fifth review is held out.
    """
    data, path = read_checked(REVIEWS, folder)
    files = unzip(data, path)
    texts = [[decode(text, f"{path}/{name}", "latin-1") for name, text in sorted(files.items())
              if name.startswith(f"movie_reviews/{mood}/")] for mood in ("pos", "neg")]
    return texts[0] + texts[1], np.repeat([1, 0], [len(texts[0]), len(texts[1])])
