"""Plots that many lessons share: image grids, curves, points in the plane, densities and decisions over the plane.

Arguments may be arrays, lists or Tensors. `axes`: a panel to draw on (see `panels`); a new figure if None. `box`: the
part of the plane to show, (x from, x to, y from, y to).
"""
import numpy as np

from ..autograd import no_grad
from .figure import COLORS, FAINT, INK, finite_range, given_or_new, values_of


def show_grid(images, columns=None, titles=None, limits=None, title=None, axes=None):
    """Images side by side. (N, H, W) or (N, 1, H, W): grey; (N, H, W, 3) or (N, 3, H, W): colours in [0, 1] or 0..255.

    A dict {label: images} gives one labelled row for each entry. `titles`: a caption for each image, in order.
    `limits`: the values shown as black and white, by default the extremes of all images, so rows can be compared.
    """
    rows = _rows(images, columns)
    height, width = rows[0][1].shape[1:3]
    across = max((len(row) for _, row in rows), default=1)
    low, high = limits or finite_range(np.concatenate([row.ravel() for _, row in rows]))
    gap = 0.06 * width
    captions = iter([] if titles is None else titles)
    line = 0.24 * width if titles is not None else gap          # room under an image

    scale = min(0.9, 11 / across)                               # inches for one image
    size = (scale * across + 1.4, scale * len(rows) * (height + line) / width + 0.5)
    figure, axes = given_or_new(axes, title, size)
    for r, (label, row) in enumerate(rows):
        bottom = -r * (height + line)
        for c, image in enumerate(row):
            left = c * (width + gap)
            axes.imshow(image, cmap="gray", vmin=low, vmax=high, extent=(left, left + width, bottom - height, bottom))
            axes.text(left + width / 2, bottom - height - gap / 2, next(captions, ""), ha="center", va="top", fontsize=8)
        axes.text(-2 * gap, bottom - height / 2, label, ha="right", va="center")
    axes.set(xlim=(0, across * (width + gap) - gap), ylim=(-len(rows) * (height + line), 0), aspect="equal")
    axes.set_axis_off()
    return figure


def _rows(images, columns):
    """[(label, (n, H, W) or (n, H, W, 3))], one for each row of the grid."""
    if isinstance(images, dict):
        rows = [(str(label), _layout(row)[:columns]) for label, row in images.items()]
        shapes = {row.shape[1:3] for _, row in rows}
        if len(shapes) != 1:
            raise ValueError(f"show_grid: got images of sizes {sorted(shapes)}, expected one size")
        return rows
    images = _layout(images)
    n = columns or max(1, min(len(images), 10))
    return [("", images[i : i + n]) for i in range(0, max(len(images), 1), n)]


def _layout(images):
    """Images in matplotlib's layout, colours last."""
    x = values_of(images)
    if x.ndim == 4 and x.shape[1] == 1:
        x = x[:, 0]                                             # (N, H, W)
    elif x.ndim == 4 and x.shape[1] == 3 and x.shape[3] != 3:
        x = x.transpose(0, 2, 3, 1)                             # (N, H, W, 3)
    if x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] != 3):
        raise ValueError(f"show_grid: got shape {x.shape}, expected (N, H, W), (N, 1, H, W), (N, H, W, 3) or "
                         "(N, 3, H, W)")
    return np.clip(x, 0, 1) if x.ndim == 4 and x.dtype.kind == "f" else x


def plot_curves(curves, xlabel="", ylabel="", log="", title=None, axes=None):
    """Lines over their index. `curves`: {name: values} or {name: (xs, values)}. `log`: "x", "y" or "xy"."""
    figure, axes = given_or_new(axes, title)
    for name, curve in curves.items():
        xs, ys = curve if isinstance(curve, tuple) else (np.arange(len(curve)), curve)
        axes.plot(values_of(xs), values_of(ys), label=name)
    if "x" in log:
        axes.set_xscale("log")
    if "y" in log:
        axes.set_yscale("log")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.margins(x=0.02)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=9, handlelength=1.4)
    return figure


def scatter2d(points, labels=None, names=None, title=None, axes=None):
    """Points (N, 2) in the plane, coloured by `labels` (N,), integer classes; `names`: a name for each class."""
    xy = values_of(points)
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise ValueError(f"scatter2d: got points of shape {xy.shape}, expected (N, 2)")
    figure, axes = given_or_new(axes, title, (4.8, 4.0))
    style = dict(s=float(np.clip(8000 / max(len(xy), 1), 4, 26)), linewidths=0.3, edgecolors="white")
    if labels is None:
        axes.scatter(*xy.T, color=COLORS[0], **style)
    else:
        labels = values_of(labels).astype(int)
        for k in np.unique(labels):                             # class k has colour k in every picture
            name = k if names is None else names[k]
            axes.scatter(*xy[labels == k].T, color=COLORS[k % len(COLORS)], label=name, **style)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9, handletextpad=0.1)
    axes.set_aspect("equal")
    return figure


def density2d(log_density, box, points=None, resolution=200, title=None, axes=None):
    """The density exp(log_density(x)) over a box. `log_density`: (M, 2) float32 array -> (M,). `points` (N, 2) on it."""
    figure, axes = given_or_new(axes, title, (4.6, 3.8))
    values = np.exp(_over(log_density, box, resolution).astype(np.float64))
    image = axes.imshow(values, origin="lower", extent=box, vmin=0, cmap="viridis", interpolation="bilinear")
    bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(size=0)
    if points is not None:
        axes.scatter(*values_of(points).T, s=3, color="white", alpha=0.6, linewidths=0)
    _frame(axes, box)
    return figure


def regions2d(classify, box, points=None, labels=None, resolution=200, title=None, axes=None):
    """Which class a classifier gives each place of a box. `classify`: (M, 2) float32 array -> (M,) integer classes."""
    figure, axes = given_or_new(axes, title, (4.4, 4.0))
    classes = _over(classify, box, resolution).astype(int)
    rgb = np.array([[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in COLORS])
    axes.imshow(1 - 0.35 * (1 - rgb[classes % len(rgb)]), origin="lower", extent=box, aspect="equal")
    if points is not None:
        faces = [COLORS[k % len(COLORS)] for k in values_of(labels).astype(int)]
        axes.scatter(*values_of(points).T, s=18, c=faces, edgecolors="white", linewidths=0.5)
    _frame(axes, box)
    return figure


def arrows2d(field, box, resolution=20, title=None, axes=None):
    """A vector field over a box: arrows of one length, darker where the vector is longer. `field`: (M, 2) float32 -> (M, 2)."""
    figure, axes = given_or_new(axes, title, (4.4, 4.0))
    points = _grid(box, resolution)
    with no_grad():
        vectors = values_of(field(points))
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(length, 1e-12)
    axes.quiver(*points.T, *unit.T, np.log(np.maximum(length[:, 0], 1e-12)), cmap="viridis_r", pivot="mid",
                scale=1.4 * resolution, width=0.005)
    axes.set_aspect("equal")
    _frame(axes, box)
    return figure


def _grid(box, resolution):
    """Points of the box, row by row from its lower left: float32 (resolution^2, 2)."""
    xs, ys = np.linspace(*box[:2], resolution), np.linspace(*box[2:], resolution)
    return np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2).astype(np.float32)


def _over(function, box, resolution):
    """`function` on a grid of points of the box: (resolution, resolution), y upwards."""
    points = _grid(box, resolution)
    with no_grad():
        values = values_of(function(points))
    if values.size != len(points):
        raise ValueError(f"got values of shape {values.shape} for {len(points)} points, expected one for each")
    return values.reshape(resolution, resolution)


def _frame(axes, box):
    axes.grid(False)
    axes.set(xlim=box[:2], ylim=box[2:])
    axes.spines[:].set(visible=True, color=FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK)
