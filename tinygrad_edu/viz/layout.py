"""A layered drawing of a directed graph without cycles, after Sugiyama, Tagawa & Toda 1981, in its simplest form.

1. The layer (column) of a vertex is the longest path to it; inputs move right, next to what they enter.
2. An edge that crosses layers passes through a dummy place in each of them.
3. Sweeps left and right: sort each layer by the mean height of the neighbours, which undoes most crossings.
4. Each vertex moves towards its neighbours as far as the order in its layer lets it.
"""


def layered(vertices, edges, sweeps=8):
    """({vertex: (column, height)}, {edge: its bends}), in unit steps, for `vertices` in topological order."""
    layer = _layers(vertices, edges)
    chains = {(a, b): [a, *((a, b, k) for k in range(layer[a] + 1, layer[b])), b] for a, b in edges}
    columns = [[v for v in vertices if layer[v] == k] for k in range(max(layer.values()) + 1)]
    left, right = {}, {}
    for (a, _), chain in chains.items():
        for k, (u, v) in enumerate(zip(chain, chain[1:])):
            left.setdefault(v, []).append(u)
            right.setdefault(u, []).append(v)
            if k:
                columns[layer[a] + k].append(u)

    height = {v: float(i) for column in columns for i, v in enumerate(column)}
    for _ in range(sweeps):
        for neighbours, order in ((left, columns), (right, columns[::-1])):
            for column in order:
                _settle(column, neighbours, height)
    lowest = min(height.values())
    places = {v: (layer[v], height[v] - lowest) for v in vertices}
    bends = {edge: [(layer[edge[0]] + k, height[v] - lowest) for k, v in enumerate(chain) if 0 < k < len(chain) - 1]
             for edge, chain in chains.items()}
    return places, bends


def _layers(vertices, edges):
    """The longest path to each vertex; a vertex that nothing enters goes one layer before the first that it enters."""
    entered, layer = {b for _, b in edges}, {}
    for v in vertices:
        layer[v] = max((layer[a] + 1 for a, b in edges if b == v), default=0)
    for v in vertices:
        if v not in entered:
            layer[v] = min(layer[b] for a, b in edges if a == v) - 1
    return layer


def _settle(column, neighbours, height):
    """Order a layer by where its neighbours are, and put each vertex there, at least one step from the one above."""
    wish = {}
    for v in column:
        near = neighbours.get(v, [v])
        wish[v] = sum(height[u] for u in near) / len(near)
    column.sort(key=wish.__getitem__)
    for i, v in enumerate(column):
        height[v] = max(wish[v], height[column[i - 1]] + 1) if i else wish[v]
    shift = sum(wish[v] - height[v] for v in column) / len(column)
    for v in column:
        height[v] += shift
