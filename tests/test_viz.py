"""The drawn graph says what is in the graph, once; plots put values where they belong, without pyplot or a window."""
import io
import itertools
import re
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import viz
from tinygrad_edu.viz import graph as graph_module
from tinygrad_edu.viz.figure import COLORS
from tinygrad_edu.viz.layout import layered


def expression():
    """y = (c + d) + c d with c = a b, d = a + b at (2, 3): 41, dy/da = 25, dy/db = 19."""
    a, b = tg.tensor(2.0, requires_grad=True), tg.tensor(3.0, requires_grad=True)
    c, d = a * b, a + b
    c.retain_grad()
    return a, b, c, d, (c + d) + c * d


def vertices_in(source):
    return dict(re.findall(r'^\t((?:t|op)\d+) \[label=("(?:[^"\\]|\\.)*"|\S+)', source, flags=re.M))


def edges_in(source):
    return re.findall(r"^\t(\w+) -> (\w+)$", source, flags=re.M)


# ---------------------------------------------------------------- the graph

def test_one_vertex_for_each_tensor_and_operation():
    y = expression()[-1]
    vertices, edges = vertices_in(viz.draw_graph(y).source), edges_in(viz.draw_graph(y).source)
    assert sum(v.startswith("op") for v in vertices) == 5 and sum(v.startswith("t") for v in vertices) == 7
    assert len(edges) == 15                                 # two into each operation, one out of it
    assert all((tail[0] == "t") != (head[0] == "t") for tail, head in edges)
    assert {v for edge in edges for v in edge} == set(vertices)


def test_names_values_and_gradients_are_written():
    a, b, c, d, y = expression()
    y.backward(retain_graph=True)
    text = viz.draw_graph(y, names=dict(a=a, b=b, c=c, d=d, y=y)).source
    for label in (r"a\l2\lgrad 25\l", r"b\l3\lgrad 19\l", r"c\l6\lgrad 6\l", r"d\l5\l", r"y\l41\l"):
        assert f'"{label}"' in text
    assert "Multiply" in text and "test_viz.py" in text
    assert "grad 25" in text and "grad 25" not in viz.draw_graph(y, values=False).source


def test_big_arrays_show_their_range_and_shape():
    x = tg.tensor(np.linspace(-1, 2, 12).reshape(3, 4), requires_grad=True)
    text = viz.draw_graph(x + np.zeros((3, 4)), names=dict(x=x)).source
    assert r"x  (3, 4)\l-1 .. 2\l" in text and r"(3, 4)\lall 0\l" in text


def test_two_tensors_of_one_name_stay_two():
    a, b = tg.tensor(1.0, requires_grad=True), tg.tensor(2.0, requires_grad=True)
    vertices = vertices_in(viz.draw_graph(a * b, names=[("w", a), ("w", b)]).source)
    assert sorted(label for label in vertices.values() if label.startswith('"w')) == [r'"w\l1\l"', r'"w\l2\l"']


def test_names_take_whatever_locals_holds():
    x, count, text = tg.tensor(1.0, requires_grad=True), 3, "tensor"
    weight = x
    assert r"x, weight\l1\l" in viz.draw_graph(x * count, names=locals()).source and text


def test_numbers_are_vertices_of_their_own_and_a_tensor_twice_is_one():
    x = tg.tensor(3.0, requires_grad=True)
    vertices = vertices_in(viz.draw_graph(x * x * 2 + 2).source)
    assert sum(label == r'"2\l"' for label in vertices.values()) == 2
    edges = edges_in(viz.draw_graph(x * x).source)
    assert edges.count(("t1", "op1")) == 2


def test_a_tensor_after_an_in_place_write():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = x * 1
    y[0] = 5.0
    source = viz.draw_graph(y * 2, names=dict(y=y)).source
    assert "SetItem" in source and source.count(r"y  (2,)\l[5, 2]") == 1


@pytest.mark.parametrize("name", ['quo"te', "back\\slash", "back\\", "new\\nline", "<b>bold</b>", "graph", "ä λ", "a{b|c}"])
def test_any_name_gives_valid_dot(name):
    pygraphviz = pytest.importorskip("pygraphviz")
    x = tg.tensor(1.0, requires_grad=True)
    source = viz.draw_graph(x * 2, names={name: x}).source
    assert len(pygraphviz.AGraph(string=source).nodes()) == 4


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match="no operation made this tensor of shape \\(3,\\)"):
        viz.draw_graph(tg.ones(3, requires_grad=True))
    y = expression()[-1]
    y.backward()
    with pytest.raises(RuntimeError, match="freed by backward.*retain_graph=True"):
        viz.draw_graph(y)
    with pytest.raises(ValueError, match="got 5 operations, expected at most max_nodes = 4"):
        viz.draw_graph(expression()[-1], max_nodes=4)


def test_a_long_chain_needs_no_recursion():
    y = x = tg.tensor(1.0, requires_grad=True)
    for _ in range(3000):
        y = -y
    assert viz.draw_graph(y, max_nodes=3000, names=dict(x=x)).source.count("Negative") == 3000


def test_drawing_keeps_the_graph_alive_and_no_longer():
    a, *_, y = expression()
    viz.draw_graph(y)
    y.backward()
    assert a.grad.item() == 25


# ---------------------------------------------------------------- files

@pytest.fixture
def no_programs(monkeypatch):
    monkeypatch.setattr(graph_module.shutil, "which", lambda program: None)
    monkeypatch.setattr(graph_module.importlib.util, "find_spec", lambda module: None)


def test_without_graphviz_the_text_is_written(no_programs, tmp_path):
    graph = viz.draw_graph(expression()[-1], tmp_path / "new" / "graph.svg")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["graph.gv"]
    assert (tmp_path / "new" / "graph.gv").read_text(encoding="utf-8") == graph.source


@pytest.mark.parametrize("given, picture", [("graph.gv", "graph.svg"), ("graph", "graph.svg"), ("graph.png", "graph.png")])
def test_with_graphviz_the_picture_lies_beside_it(monkeypatch, tmp_path, given, picture):
    import graphviz
    asked = []
    monkeypatch.setattr(graph_module.shutil, "which", lambda program: "/bin/dot")
    monkeypatch.setattr(graphviz, "pipe", lambda *arguments: asked.append(arguments) or b"picture")
    graph = viz.draw_graph(expression()[-1], tmp_path / given)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["graph.gv", picture])
    assert (tmp_path / picture).read_bytes() == b"picture"
    assert asked == [("dot", picture[6:], graph.source.encode())]


def test_a_failed_picture_leaves_the_old_one(monkeypatch, tmp_path):
    import graphviz

    def fail(*arguments):
        raise RuntimeError("dot crashed")

    (tmp_path / "graph.svg").write_text("old")
    monkeypatch.setattr(graph_module.shutil, "which", lambda program: "/bin/dot")
    monkeypatch.setattr(graphviz, "pipe", fail)
    with pytest.raises(RuntimeError, match="dot crashed"):
        viz.draw_graph(expression()[-1], tmp_path / "graph.svg")
    assert (tmp_path / "graph.svg").read_text() == "old"


@pytest.mark.parametrize("suffix, start", [(".svg", b"<?xml"), (".png", b"\x89PNG")])
def test_pygraphviz_draws(monkeypatch, tmp_path, suffix, start):
    pytest.importorskip("pygraphviz")
    monkeypatch.setattr(graph_module.shutil, "which", lambda program: None)
    viz.draw_graph(expression()[-1], tmp_path / ("graph" + suffix))
    assert (tmp_path / ("graph" + suffix)).read_bytes().startswith(start)


# ---------------------------------------------------------------- the drawing without Graphviz

def test_graph_figure_writes_every_box_and_none_covers_another():
    a, b, c, d, y = expression()
    w = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    z = ((y * w).sum(axis=0) * a + w[0]).mean()
    figure = viz.graph_figure(z, names=dict(a=a, b=b, w=w, z=z))
    figure.draw_without_rendering()
    boxes = [text.get_bbox_patch().get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == len(vertices_in(viz.draw_graph(z).source))
    assert not any(p.overlaps(q) for p, q in itertools.combinations(boxes, 2))
    assert all(figure.bbox.x0 <= p.x0 and p.x1 <= figure.bbox.x1 for p in boxes)
    assert all(figure.bbox.y0 <= p.y0 and p.y1 <= figure.bbox.y1 for p in boxes)


def test_layers_go_forward_and_long_edges_bend_round():
    vertices, edges = list("abced"), [("a", "b"), ("b", "c"), ("c", "d"), ("a", "d"), ("e", "d")]
    places, bends = layered(vertices, edges)
    assert [places[v][0] for v in vertices] == [0, 1, 2, 2, 3]
    assert [column for column, _ in bends["a", "d"]] == [1, 2]
    taken = [places[v] for v in vertices] + bends["a", "d"]
    assert len(set(taken)) == len(taken) and min(row for _, row in taken) >= 0
    for (c1, r1), (c2, r2) in itertools.combinations(taken, 2):
        assert c1 != c2 or abs(r1 - r2) >= 1 - 1e-9


# ---------------------------------------------------------------- plots

def rendered(figure):
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure.axes[0]


def test_no_pyplot_and_no_matplotlib_before_it_is_needed():
    program = ("import sys, numpy as np, tinygrad_edu.viz as viz\n"
               "assert 'matplotlib' not in sys.modules and 'graphviz' not in sys.modules\n"
               "viz.plot_curves({'loss': [3, 2, 1]}).savefig(sys.argv[1])\n"
               "viz.show_grid(np.zeros((4, 8, 8)))\n"
               "assert 'matplotlib.pyplot' not in sys.modules\n")
    subprocess.run([sys.executable, "-c", program, "/dev/null" if sys.platform != "win32" else "NUL"], check=True)


@pytest.mark.parametrize("shape", [(7, 8, 8), (7, 1, 8, 8), (7, 8, 8, 3), (7, 3, 8, 8), (1, 8, 5), (12, 3, 3, 3)])
def test_show_grid_takes_every_layout(shape):
    images = np.random.default_rng(0).random(shape)
    drawn = rendered(viz.show_grid(tg.tensor(images), columns=4)).images
    assert len(drawn) == shape[0]
    expected = images[3 % shape[0]]
    if len(shape) == 4 and shape[1:] != (3, 3, 3):
        expected = expected[0] if shape[1] == 1 else expected.transpose(1, 2, 0) if shape[1] == 3 else expected
    assert np.array_equal(drawn[3 % shape[0]].get_array(), expected)


def test_show_grid_rows_titles_and_common_limits():
    low, high = np.zeros((3, 8, 8)), np.full((5, 8, 8), 9.0)
    axes = rendered(viz.show_grid({"low": low, "high": high}, columns=4, titles=range(7)))
    words = [text.get_text() for text in axes.texts]
    assert [w for w in words if w] == ["0", "1", "2", "low", "3", "4", "5", "6", "high"]
    assert len(axes.images) == 7 and {image.get_clim() for image in axes.images} == {(0.0, 9.0)}
    assert {i.get_clim() for i in viz.show_grid(low, limits=(-1, 1)).axes[0].images} == {(-1, 1)}


def test_show_grid_images_do_not_overlap_and_keep_their_shape():
    axes = rendered(viz.show_grid(np.ones((6, 4, 8)), columns=3))
    for image in axes.images:
        x0, x1, y0, y1 = image.get_extent()
        assert (x1 - x0, y1 - y0) == (8, 4)
    for p, q in itertools.combinations((image.get_extent() for image in axes.images), 2):
        assert p[1] <= q[0] or q[1] <= p[0] or p[3] <= q[2] or q[3] <= p[2]


@pytest.mark.parametrize("images", [np.zeros((8, 8)), np.zeros((2, 4, 8, 8)), {"a": np.zeros((1, 2, 2)), "b": np.zeros((1, 3, 3))}])
def test_show_grid_refuses_other_shapes(images):
    with pytest.raises(ValueError, match="show_grid: got .* expected"):
        viz.show_grid(images)


def test_plot_curves():
    loss = tg.tensor([3.0, 2.0, 1.0], requires_grad=True)
    axes = rendered(viz.plot_curves({"train": loss, "test": ([0, 10], [4, 5])}, "epoch", "loss", log="y", title="Loss"))
    train, test = axes.get_lines()
    assert train.get_xydata().tolist() == [[0, 3], [1, 2], [2, 1]] and test.get_xydata().tolist() == [[0, 4], [10, 5]]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale(), axes.get_xscale()) == ("epoch", "loss", "log", "linear")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "test"]
    assert viz.plot_curves({"alone": [1, 2]}).axes[0].get_legend() is None


def test_a_class_has_one_colour_everywhere():
    points, labels = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]), np.array([2, 5, 2])
    axes = rendered(viz.scatter2d(points, labels))
    assert [c.get_offsets().tolist() for c in axes.collections] == [[[0, 0], [2, 2]], [[1, 1]]]
    from matplotlib.colors import to_hex
    assert [to_hex(c.get_facecolor()[0]) for c in axes.collections] == [COLORS[2], COLORS[5]]
    axes = rendered(viz.regions2d(lambda p: np.full(len(p), 5), (0, 2, 0, 2), points, labels, resolution=5))
    assert [to_hex(c) for c in axes.collections[0].get_facecolor()] == [COLORS[2], COLORS[5], COLORS[2]]
    with pytest.raises(ValueError, match="scatter2d: got points of shape \\(3,\\), expected \\(N, 2\\)"):
        viz.scatter2d(np.zeros(3))


def test_a_density_peaks_where_it_should():
    center = np.array([1.0, -2.0])
    axes = rendered(viz.density2d(lambda p: -((p - center) ** 2).sum(axis=1), (-4, 4, -3, 3), points=center[None]))
    values = axes.images[0].get_array()
    row, column = np.unravel_index(values.argmax(), values.shape)
    x, y = np.linspace(-4, 4, 200)[column], np.linspace(-3, 3, 200)[row]
    assert abs(x - 1) < 0.03 and abs(y + 2) < 0.03 and values.max() == pytest.approx(1, abs=2e-3)
    assert axes.images[0].get_extent() == [-4, 4, -3, 3] and axes.images[0].origin == "lower"


def test_functions_of_the_plane_may_be_models():
    w = tg.tensor([[1.0], [1.0]], requires_grad=True)
    inside = rendered(viz.regions2d(lambda p: ((p @ w)[:, 0] > 0), (-1, 1, -1, 1), resolution=3)).images[0].get_array()
    above, below = inside[2, 2], inside[0, 0]               # x + y > 0 is the upper right
    assert above.tolist() != below.tolist() and above[2] < below[2]
    with pytest.raises(ValueError, match="expected one for each"):
        viz.density2d(lambda p: p, (0, 1, 0, 1), resolution=3)


def test_arrows_point_along_the_field_and_have_one_length():
    axes = rendered(viz.arrows2d(lambda p: -(1 + p[:, :1] ** 2) * p, (-1, 1, -2, 2), resolution=3))
    (arrows,) = axes.collections
    assert arrows.N == 9 and axes.get_xlim() == (-1, 1) and axes.get_ylim() == (-2, 2)
    np.testing.assert_allclose(np.hypot(arrows.U, arrows.V), [1, 1, 1, 1, 0, 1, 1, 1, 1], atol=1e-6)    # no arrow at 0
    assert (arrows.U[0], arrows.V[1]) == (pytest.approx(5 ** -0.5), pytest.approx(1))
    assert arrows.get_array()[0] > arrows.get_array()[1]        # the colour is the length before


def test_panels_hold_several_plots():
    figure, ((a, b), (c, d)) = viz.panels(2, 2)
    plots = [viz.plot_curves({"x": [1, 2]}, axes=a, title="curves"), viz.scatter2d(np.eye(2), axes=b),
             viz.density2d(lambda p: -p[:, 0], (0, 1, 0, 1), axes=c), viz.show_grid(np.eye(4)[None], axes=d)]
    assert all(plot is figure for plot in plots)
    assert rendered(figure).get_title(loc="left") == "curves"
