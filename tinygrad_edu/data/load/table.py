"""Tables of numbers in CSV: the prices of a share."""
import csv
import datetime
import io

import numpy as np

from ..store import DataError, DataFile, read_checked
from .packed import decode

APPLE = DataFile("apple_stock", "finance-charts-apple.csv", 60220,
                 "24c7604edfd5afe862ddb9f9535e2fd7351f43711bfc442bca52055e15e37bcd",
                 "https://raw.githubusercontent.com/plotly/datasets/master/finance-charts-apple.csv")
PRICES = ("AAPL.Open", "AAPL.High", "AAPL.Low", "AAPL.Close")


def parse_csv(data, name):
    """{column: list of texts} from a CSV file with a header. Raises DataError unless all rows are as long as the header."""
    try:
        header, *rows = list(csv.reader(io.StringIO(decode(data, name), newline=""), strict=True)) or [[]]
    except csv.Error as error:
        raise DataError(f"{name}: got damaged CSV, expected quotes that end: {error}") from error
    if not header or len(set(header)) < len(header):
        raise DataError(f"{name}: got header {header}, expected different names")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise DataError(f"{name}: got {len(row)} columns in row {number}, expected {len(header)}")
    return {column: [row[i] for row in rows] for i, column in enumerate(header)}


def numbers(texts, name):
    """float64 (N,) from a column of a table."""
    try:
        values = np.array([float(text) for text in texts])
    except ValueError as error:
        raise DataError(f"{name}: got {error}, expected numbers") from error
    if not np.isfinite(values).all():
        raise DataError(f"{name}: got {values[~np.isfinite(values)][0]}, expected finite numbers")
    return values


def load_apple(folder=None, download=False):
    """Days (a list of datetime.date) and prices float64 (506, 4): open, high, low, close in dollars, 2015-02 to 2017-02.

    Who says that tomorrow closes as today is off by 1.696 dollars (root mean square).
    """
    return parse_prices(*read_checked(APPLE, folder, download))


def parse_prices(data, name):
    """Days and prices as in load_apple. Raises DataError if days do not rise or a price leaves its low..high."""
    table = parse_csv(data, name)
    if missing := {"Date", *PRICES} - set(table):
        raise DataError(f"{name}: got columns {list(table)}, expected also {sorted(missing)}")
    prices = np.stack([numbers(table[column], f"{name}, {column}") for column in PRICES], axis=1)
    try:
        days = [datetime.date.fromisoformat(day) for day in table["Date"]]
    except ValueError as error:
        raise DataError(f"{name}: got {error}, expected dates such as 2015-02-17") from error
    if any(a >= b for a, b in zip(days, days[1:])):
        raise DataError(f"{name}: got a day that is not after the one before it, expected rising dates")
    high, low = prices[:, 1:2], prices[:, 2:3]
    if not ((low <= prices) & (prices <= high)).all():
        row = int(np.flatnonzero(~((low <= prices) & (prices <= high)).all(axis=1))[0])
        raise DataError(f"{name}: got prices {prices[row].tolist()} on {days[row]}, expected all within low..high")
    return days, prices
