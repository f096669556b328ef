"""Logs of training: numbers as CSV always; with `tensorboard=True` also TensorBoard's event files, histograms and images too.

    with SummaryWriter("runs/first", tensorboard=True) as writer:
        writer.add_hparams({"lr": 0.1}, {"accuracy": 0.9})
        writer.log({"loss/train": 0.3, "loss/test": 0.4}, step)         # one row of scalars.csv
    plot_curves(read_curves("runs/first/scalars.csv"))

A CSV file grows by whole lines, each written and flushed at once, so that a killed process loses no line that was logged, and a
run that goes on appends to it. A column that was not there before is new for all: the file is written anew, atomically, with
a longer header and empty cells in the old rows. A half line at the end, from a process killed in the middle, is cut off.
"""
import csv
import io
from pathlib import Path

from .. import backend
from ..files import write_atomically
from ..tensor import Tensor


class SummaryWriter:
    """Writes into `log_dir`: scalars.csv, hparams.csv, and with `tensorboard` event files (extra `tensorboard`).

    The methods are PyTorch's. Without `tensorboard` histograms and images go nowhere: they have no place in a table.
    """

    def __init__(self, log_dir, tensorboard=False):
        self.log_dir = Path(log_dir)
        self.scalars, self.hparams = Table(self.log_dir / "scalars.csv"), Table(self.log_dir / "hparams.csv")
        self.events = _event_writer(self.log_dir) if tensorboard else None

    def log(self, values, global_step):
        """{tag: number} of one step, as one row. A number may be an array or Tensor of one element."""
        values = {tag: _number(value) for tag, value in values.items()}
        self.scalars.append({"step": global_step, **values})
        if self.events:
            for tag, value in values.items():
                self.events.add_scalar(tag, value, global_step)

    def add_scalar(self, tag, scalar_value, global_step):
        """One number."""
        self.log({tag: scalar_value}, global_step)

    def add_histogram(self, tag, values, global_step):
        """How the numbers of an array or Tensor are distributed."""
        if self.events:
            self.events.add_histogram(tag, _array(values).reshape(-1), global_step)

    def add_image(self, tag, img_tensor, global_step, dataformats="CHW"):
        """A picture, floats in [0, 1] or bytes; `dataformats`: "CHW", "HWC" or "HW"."""
        if self.events:
            self.events.add_image(tag, _array(img_tensor), global_step, dataformats=dataformats)

    def add_hparams(self, hparam_dict, metric_dict):
        """The settings of this run, {name: number, string or bool}, and what came of them, {name: number}; one row."""
        metrics = {name: _number(value) for name, value in metric_dict.items()}
        if shared := hparam_dict.keys() & metrics.keys():
            raise ValueError(f"add_hparams: got {sorted(shared)} both as a setting and as a result, expected different names")
        self.hparams.append({**hparam_dict, **metrics})
        if self.events:
            self.events.add_hparams(hparam_dict, metrics, name="hparams")

    def close(self):
        """Write what the event writer still holds back. The CSV files are complete at any time."""
        if self.events:
            self.events.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


class Table:
    """A CSV file that rows, dicts, are appended to. One process at a time."""

    def __init__(self, path):
        self.path = Path(path)
        self.columns = list(self._repaired()[0]) if self.path.exists() else []

    def append(self, row):
        """Add one row; cells of columns that it lacks stay empty."""
        if any("\n" in str(cell) for cell in (*row, *row.values())):
            raise ValueError(f"{self.path.name}: got a line break in a cell, expected numbers and short strings")
        if new := [name for name in row if name not in self.columns]:
            self._widen(new)
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            file.write(_line(row.get(name, "") for name in self.columns))

    def _widen(self, new):
        """The file once more, with these columns at the right."""
        old = self._repaired() if self.path.exists() else [[]]
        self.columns += new
        lines = [_line(self.columns), *(_line(row + [""] * (len(self.columns) - len(row))) for row in old[1:])]
        write_atomically(self.path, lambda temporary: temporary.write_text("".join(lines), encoding="utf-8", newline=""))

    def _repaired(self):
        """The rows of the file, the header first, once a half line at its end is gone."""
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            write_atomically(self.path, lambda temporary: temporary.write_bytes(whole))
        return list(csv.reader(io.StringIO(whole.decode("utf-8"), newline=""))) or [[]]


def read_curves(path, x="step"):
    """{column: (xs, values)} of a CSV file with a column `x`: what `plot_curves` draws. Empty cells are left out."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if rows and x not in rows[0]:
        raise ValueError(f"{path}: has no column {x!r}, only {list(rows[0])}")
    curves = {}
    for row in rows:
        for name, cell in row.items():
            if name != x and cell:
                xs, values = curves.setdefault(name, ([], []))
                xs.append(float(row[x]))
                values.append(float(cell))
    return curves


def _line(cells):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _array(values):
    return backend.to_numpy(values.data if isinstance(values, Tensor) else values)


def _number(value):
    return value.item() if hasattr(value, "item") else value


def _event_writer(log_dir):
    try:
        from tensorboardX import SummaryWriter as EventWriter
    except ImportError as error:
        raise ImportError("tensorboard=True needs tensorboardX: pip install 'tinygrad-edu[tensorboard]'") from error
    return EventWriter(str(log_dir))
