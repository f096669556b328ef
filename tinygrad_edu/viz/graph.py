"""The graph of a computation as a picture: a box for a tensor, an ellipse for an operation, arrows forward in time.

`draw_graph` writes Graphviz's DOT, the better picture where that is installed; `graph_figure` needs matplotlib alone.
"""
import importlib.util
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..autograd import Function
from ..backend import is_array
from ..files import write_atomically
from ..tensor import Tensor
from .figure import INK, panels, values_of
from .layout import layered

FILL = {"parameter": "#dcebf9", "constant": "#eef0f1", "tensor": "#ffffff", "output": "#dff0e3", "operation": "#fdeacb"}
EDGE = {"parameter": "#3f90da", "constant": "#94a4a2", "tensor": "#94a4a2", "output": "#3f9457", "operation": "#c98400"}


class Vertex(NamedTuple):
    kind: str           # a key of FILL
    lines: list         # what is written in it
    hint: str = ""      # operations: the source line that made them


def draw_graph(y, path=None, values=True, names=(), max_nodes=200):
    """The graph that made the tensor `y`, as a graphviz.Digraph; its text is in `.source`.

    Each tensor shows its name, shape, values and, where it is known, its gradient. `names`: a dict {name: tensor} or
    pairs, such as `locals()` or `model.named_parameters()`. With a `path` the text goes to PATH.gv and, where the
    program `dot` or the extra `draw` is installed, the picture beside it, as .svg or what the suffix of `path` says.
    Draw before backward(), or pass it retain_graph=True.
    """
    import graphviz

    vertices, edges = collect(y, values, names, max_nodes)
    text = dict(fontname="Helvetica,Arial,sans-serif", fontsize="11", fontcolor=INK)
    box = dict(shape="box", style="filled,rounded", margin="0.12,0.07", penwidth="1.2")
    graph = graphviz.Digraph(graph_attr=dict(rankdir="LR", ranksep="0.35", nodesep="0.25", bgcolor="white"),
                             node_attr=text | box, edge_attr=dict(color=INK, arrowsize="0.6", penwidth="0.9"))
    for i, vertex in vertices.items():
        label = "".join(graphviz.escape(line) + r"\l" for line in vertex.lines)
        look = dict(fillcolor=FILL[vertex.kind], color=EDGE[vertex.kind])
        if vertex.kind == "operation":
            look |= dict(shape="ellipse", style="filled", tooltip=graphviz.escape(vertex.hint))
            label = graphviz.escape(vertex.lines[0])
        graph.node(i, label, **look)
    for tail, head in edges:
        graph.edge(tail, head)
    if path is not None:
        _write(graph.source, Path(path))
    return graph


def graph_figure(y, values=True, names=(), max_nodes=60):
    """The same picture as a matplotlib Figure, for machines without Graphviz. Arguments as in `draw_graph`."""
    vertices, edges = collect(y, values, names, max_nodes)
    places, bends = layered(vertices, edges)
    xs = _columns(vertices, places)                                     # inches
    tall = 0.4 + 0.16 * max(len(vertex.lines) for vertex in vertices.values())
    rows = max(row for _, row in places.values()) + 1

    figure, axes = panels(size=(xs[-1], tall * rows))
    axes.set(xlim=(0, xs[-1]), ylim=(tall * (rows - 0.5), -0.5 * tall))
    axes.set_axis_off()
    boxes = {}
    for i, vertex in vertices.items():
        column, row = places[i]
        shape = "ellipse,pad=0.2" if vertex.kind == "operation" else "round,pad=0.5,rounding_size=0.6"
        look = dict(boxstyle=shape, facecolor=FILL[vertex.kind], edgecolor=EDGE[vertex.kind])
        boxes[i] = axes.text(xs[column], tall * row, "\n".join(vertex.lines), ha="center", va="center", fontsize=9,
                             zorder=3, bbox=look)
    for edge in edges:
        route = [(xs[column], tall * row) for column, row in (places[edge[0]], *bends[edge], places[edge[1]])]
        _arrow(axes, boxes[edge[0]], boxes[edge[1]], route)
    return figure


def _columns(vertices, places):
    """The middle of each column in inches, as wide as its longest line asks; last, the width of the whole."""
    widths = {}
    for i, vertex in vertices.items():
        column = places[i][0]
        widths[column] = max(widths.get(column, 0), 0.55 + 0.075 * max(len(line) for line in vertex.lines))
    right = np.cumsum([widths[k] for k in range(len(widths))])
    return [*(right - [widths[k] / 2 for k in range(len(widths))]), right[-1]]


def _arrow(axes, tail, head, points):
    """An arrow from box to box through the points between them; it is cut off where the boxes begin."""
    from matplotlib.patches import FancyArrowPatch

    style = dict(color=INK, linewidth=0.9, shrinkA=0, shrinkB=0, zorder=1)
    for k in range(len(points) - 1):
        last = k == len(points) - 2
        axes.add_patch(FancyArrowPatch(points[k], points[k + 1], arrowstyle="-|>" if last else "-", mutation_scale=9,
                                       patchA=tail.get_bbox_patch() if k == 0 else None,
                                       patchB=head.get_bbox_patch() if last else None, **style))


# ---------------------------------------------------------------- what is in the graph

def collect(y, values=True, names=(), max_nodes=200):
    """The vertices {id: Vertex}, oldest first, and the edges [(id, id)] of the graph that made `y`."""
    if y.creator is None:
        raise ValueError(f"draw_graph: no operation made this tensor of shape {y.shape}, so there is no graph to draw")
    known = {}
    for name, x in names.items() if isinstance(names, dict) else names:
        if isinstance(x, Tensor):
            known.setdefault(_key(x.creator or (x if x.requires_grad else None), x.data), []).append(name)

    vertices, edges, place = {}, [], {}             # place: key of a tensor -> id of its vertex
    for n, node in enumerate(_operations(y, max_nodes), 1):
        operation, kind = f"op{n}", "output" if node is y.creator else "tensor"
        for source, array in zip(node.sources, node.arrays):
            key = _key(source, array)
            if key not in place:
                place[key] = f"t{len(place) + 1}"
                vertices[place[key]] = _leaf(source, array, known.get(key, ()), values)
            edges.append((place[key], operation))
        place[node] = f"t{len(place) + 1}"
        vertices[operation] = Vertex("operation", [node.name], node.where())
        vertices[place[node]] = _box(kind, known.get(node, ()), node.out, _retained_grad(node), values)
        edges.append((operation, place[node]))
    return vertices, edges


def _key(source, array):
    """What makes two inputs one vertex: the node or the leaf; for constants the array. Numbers are never shared."""
    if source is not None:
        return source
    return id(array) if is_array(array) else object()


def _operations(y, max_nodes):
    """The nodes that led to `y`, oldest first."""
    stack, seen = [y.creator], {y.creator}
    while stack:
        node = stack.pop()
        if node.sources is None:
            raise RuntimeError(f"draw_graph: {node.name} was freed by backward(); draw before it, or pass it "
                               "retain_graph=True")
        for source in node.sources:
            if isinstance(source, Function) and source not in seen:
                seen.add(source)
                stack.append(source)
    if len(seen) > max_nodes:
        raise ValueError(f"draw_graph: got {len(seen)} operations, expected at most max_nodes = {max_nodes}")
    return sorted(seen, key=lambda node: node.birth)


def _leaf(source, array, names, values):
    if not is_array(array):
        return Vertex("constant", [str(array)])
    if source is None:
        return _box("constant", names, array, None, values)
    return _box("parameter", names, array, source.grad, values)


def _retained_grad(node):
    y = node.retained() if node.retained is not None else None
    return y.grad if y is not None else None


def _box(kind, names, data, gradient, values):
    shape = str(data.shape) if data.ndim or not values else ""
    lines = ["  ".join([", ".join(names), shape]).strip()]
    if values:
        lines.append(_show(data))
    if values and gradient is not None:
        lines.append("grad " + _show(gradient.data))
    return Vertex(kind, [line for line in lines if line])


def _show(data):
    """Up to four values in full, of more the range."""
    data = values_of(data)
    if data.size > 4:
        low, high = float(data.min()), float(data.max())
        return f"{low:.3g} .. {high:.3g}" if low != high else f"all {low:.3g}"
    return np.array2string(data, separator=", ", formatter={"float_kind": "{:.3g}".format}).replace("\n", "")


# ---------------------------------------------------------------- files

def _write(source, path):
    """The text always; the picture where something can lay it out."""
    picture = path.with_suffix(path.suffix if path.suffix not in ("", ".gv", ".dot") else ".svg")
    write_atomically(path.with_suffix(".gv"), lambda temporary: temporary.write_text(source, encoding="utf-8"))
    kind = picture.suffix[1:]
    if shutil.which("dot"):
        import graphviz
        image = graphviz.pipe("dot", kind, source.encode())
    elif importlib.util.find_spec("pygraphviz") is not None:
        import pygraphviz
        image = pygraphviz.AGraph(string=source).draw(format=kind, prog="dot")
    else:
        return
    write_atomically(picture, lambda temporary: temporary.write_bytes(image))
