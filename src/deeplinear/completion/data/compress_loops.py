"""Triples of entries into lines and back: counting sorts and repeated entries, compiled.

Imported by `compress` at the first large input only, since it loads numba.
"""

import numpy as np

from ..compiled import compiled


@compiled
def bucket(major, minor, values, weights, indptr, out_minor, out_values, out_weights):
    """Stable counting sort of triples by ``major``; fills ``indptr`` and the outputs."""
    for t in range(major.size):
        indptr[np.int64(major[t]) + 1] += 1
    for i in range(1, indptr.size):
        indptr[i] += indptr[i - 1]
    for t in range(major.size):
        line = np.int64(major[t])
        place = indptr[line]
        out_minor[place] = minor[t]
        out_values[place] = values[t]
        if weights.size:
            out_weights[place] = weights[t]
        indptr[line] = place + 1
    for i in range(indptr.size - 1, 0, -1):
        indptr[i] = indptr[i - 1]
    indptr[0] = 0


@compiled
def transpose(indptr, indices, values, weights, new_indptr, new_indices, new_values, new_weights):
    """The same entries compressed along the other axis; the indices of each new line are sorted."""
    for t in range(indices.size):
        new_indptr[np.int64(indices[t]) + 1] += 1
    for i in range(1, new_indptr.size):
        new_indptr[i] += new_indptr[i - 1]
    for i in range(indptr.size - 1):
        for t in range(indptr[i], indptr[i + 1]):
            j = np.int64(indices[t])
            place = new_indptr[j]
            new_indices[place] = i
            new_values[place] = values[t]
            if weights.size:
                new_weights[place] = weights[t]
            new_indptr[j] = place + 1
    for i in range(new_indptr.size - 1, 0, -1):
        new_indptr[i] = new_indptr[i - 1]
    new_indptr[0] = 0


@compiled
def first_duplicate(indptr, indices):
    """(number of repeated entries, line and index of the first); lines are sorted."""
    count = 0
    line, index = np.int64(-1), np.int64(-1)
    for i in range(indptr.size - 1):
        for t in range(indptr[i] + 1, indptr[i + 1]):
            if indices[t] == indices[t - 1]:
                if count == 0:
                    line, index = np.int64(i), np.int64(indices[t])
                count += 1
    return count, line, index


@compiled
def merge(indptr, indices, values, weights, mean):
    """Replace runs of equal indices by their (weighted) mean or their last entry, in place.

    Returns the number of entries left; ``indptr`` counts these.
    """
    kept = np.int64(0)
    begin = indptr[0]
    for i in range(indptr.size - 1):
        t, stop = begin, indptr[i + 1]
        begin = stop
        while t < stop:
            u = t + 1
            while u < stop and indices[u] == indices[t]:
                u += 1
            value = float(values[u - 1])
            weight = float(weights[u - 1]) if weights.size else 1.0
            if mean and u > t + 1:
                total, mass = 0.0, 0.0
                for v in range(t, u):
                    w = float(weights[v]) if weights.size else 1.0
                    total += w * values[v]
                    mass += w
                value, weight = total / mass, mass / (u - t)
            indices[kept] = indices[t]
            values[kept] = value
            if weights.size:
                weights[kept] = weight
            kept += 1
            t = u
        indptr[i + 1] = kept
    return kept
