"""The cheapest one-to-one assignment of rows to columns, exactly.

Greedy pairing is not enough here: queries of a detector are often near copies of each other, and one pair taken
too early pushes a far partner on another row, which would then look like an error of the conversion.
"""

import numpy as np

from appliance.convert.samples import Array


def assign(costs: Array) -> Array:
    """Return the column of each row so that the sum is smallest. costs: finite, [n, n].

    Shortest augmenting paths with dual prices: n searches of at most n steps over n columns each. Where most rows
    have a partner of their own, as here, a search is one step long.
    """
    size = len(costs)
    # Index 0 is a column outside the matrix, where each search starts; owners count rows from 1, 0 is nobody.
    owners = np.zeros(size + 1, dtype=np.intp)
    row_prices, column_prices = np.zeros(size + 1), np.zeros(size + 1)
    for row in range(1, size + 1):
        owners[0] = row
        came_from, end = _search(costs, owners, row_prices, column_prices)
        while end:
            owners[end] = owners[came_from[end]]
            end = int(came_from[end])
    columns = np.empty(size, dtype=np.intp)
    columns[owners[1:] - 1] = np.arange(size)
    return columns


def _search(costs: Array, owners: Array, row_prices: Array, column_prices: Array) -> tuple[Array, int]:
    """Find the cheapest path to a column without owner, and move the prices so that it costs nothing."""
    came_from = np.zeros(len(owners), dtype=np.intp)
    distances = np.full(len(owners), np.inf)
    seen = np.zeros(len(owners), dtype=bool)
    column = 0
    while column == 0 or owners[column]:
        seen[column] = True
        row = owners[column]
        reduced = np.full(len(owners), np.inf)
        reduced[1:] = costs[row - 1] - row_prices[row] - column_prices[1:]
        # Rounding must not lead back to a column on the path: the path would never end.
        nearer = ~seen & (reduced < distances)
        distances[nearer], came_from[nearer] = reduced[nearer], column
        column = int(np.where(seen, np.inf, distances).argmin())
        step = distances[column]
        row_prices[owners[seen]] += step
        column_prices[seen] -= step
        distances[~seen] -= step
    return came_from, column
