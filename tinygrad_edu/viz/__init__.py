"""Floor 5: pictures. The graph of a computation, and the few plots that lessons share; no window is ever needed.

Every plot returns a matplotlib Figure that belongs to nobody else: save it, or let a notebook show it. To put several
plots into one picture, make the panels first and hand them over: `figure, (left, right) = panels(1, 2)`, then
`plot_curves(curves, axes=left)`.
"""
from .figure import colors, panels
from .graph import draw_graph, graph_figure
from .plots import arrows2d, density2d, plot_curves, regions2d, scatter2d, show_grid

__all__ = ["arrows2d", "colors", "density2d", "draw_graph", "graph_figure", "panels", "plot_curves", "regions2d", "scatter2d",
           "show_grid"]
