"""The common look of all figures. They are made without pyplot, so nothing is global and nothing stays in memory."""
import numpy as np

from .. import backend
from ..tensor import Tensor

# M. A. Petroff 2021, Accessible Color Sequences for Data Visualization, arXiv:2107.02270: ten colours in an order that
# stays distinguishable with the common colour vision deficiencies.
COLORS = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")
INK, FAINT = "#26323c", "#d5dade"       # text and axes; grids and frames

STYLE = {
    "font.family": "sans-serif", "font.size": 10, "text.color": INK,
    "axes.labelsize": 10, "axes.labelcolor": INK, "axes.edgecolor": INK, "axes.linewidth": 0.8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": FAINT, "grid.linewidth": 0.6,
    "xtick.color": INK, "xtick.labelsize": 9, "xtick.major.size": 3,
    "ytick.color": INK, "ytick.labelsize": 9, "ytick.major.size": 3,
    "lines.linewidth": 1.8, "lines.solid_capstyle": "round",
}


def colors(n):
    """The first n colours of the house, "#rrggbb"; after ten they repeat."""
    return [COLORS[i % len(COLORS)] for i in range(n)]


def panels(rows=1, columns=1, size=None):
    """An empty figure and its axes: one Axes, or an array of them as from matplotlib's `subplots`. `size`: inches."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE | {"axes.prop_cycle": matplotlib.cycler(color=COLORS)}):
        figure = Figure(figsize=size or (5.2 * columns, 3.6 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        return figure, figure.subplots(rows, columns)


def given_or_new(axes, title, size=None):
    """The figure and axes to draw on: the caller's panel, or a figure of its own."""
    if axes is None:
        _, axes = panels(size=size)
    if title:
        axes.set_title(title, loc="left", fontsize=11, pad=8)
    return axes.figure, axes


def values_of(x):
    """The numbers in an array, list or Tensor (in a graph or not, on any device), as a numpy.ndarray."""
    return backend.to_numpy(x.data if isinstance(x, Tensor) else x)


def finite_range(values):
    """(smallest, largest) finite value; (0, 1) if there is none or they are equal to each other."""
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return (low, high) if low < high else (low, low + 1.0)
