"""Solves a symmetric positive semidefinite system with the same bits on any machine, which LAPACK does not promise."""

from __future__ import annotations

import numpy as np

from rounds.algorithms.strategy import Wide

SINGULAR = 1e-12
"""A pivot below this share of its diagonal is a direction about which the data say nothing."""


def solve(matrix: Wide, right: Wide) -> Wide:
    """x (n,) with matrix x = right, by Cholesky row by row (Golub & Van Loan, section 4.2.5); 0 where the matrix says nothing.

    ``matrix`` (n, n), ``right`` (n,). Sums are numpy's pairwise sums of products, elementwise and in a fixed order.
    """
    size = len(right)
    lower, usable = np.zeros((size, size)), np.ones(size, bool)
    for j in range(size):
        column = matrix[j:, j] - np.add.reduce(lower[j:, :j] * lower[j, :j], axis=1)
        pivot = column[0]
        if not pivot > SINGULAR * abs(matrix[j, j]):
            usable[j] = False
            lower[j, :j] = 0.0
            lower[j, j] = 1.0
            continue
        lower[j:, j] = column / np.sqrt(pivot)
    return _backward(lower, _forward(lower, np.where(usable, right, 0.0)))


def _forward(lower: Wide, right: Wide) -> Wide:
    solution = np.zeros_like(right)
    for i in range(len(right)):
        solution[i] = (right[i] - np.add.reduce(lower[i, :i] * solution[:i])) / lower[i, i]
    return solution


def _backward(lower: Wide, right: Wide) -> Wide:
    solution = np.zeros_like(right)
    for i in reversed(range(len(right))):
        solution[i] = (right[i] - np.add.reduce(lower[i + 1 :, i] * solution[i + 1 :])) / lower[i, i]
    return solution
