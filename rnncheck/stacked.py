"""Weights of several networks in the place of one network's, so that one run computes all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncheck.network import Array


class Stacked:
    """F arrays of one shape, each for those rows of an operand that are of its own network.

    The rows are those of any number of steps, of F networks within a step, and of N samples within a network.
    """

    def __init__(self, arrays: Array, samples: int | None) -> None:
        """Keep the arrays.

        Args:
            arrays: (F, ...), one for each network.
            samples: N; None where a network's rows are all in a row.
        """
        self.arrays = arrays
        self.samples = samples

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one network's array."""
        return self.arrays.shape[1:]

    def __getitem__(self, key: Any) -> Stacked:
        """Return that part of every network's array."""
        return Stacked(self.arrays[(slice(None), *(key if isinstance(key, tuple) else (key,)))], self.samples)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any) -> Any:
        """Return what NumPy asks for: `a @ stacked`, or a function of each number."""
        if ufunc is np.matmul:
            return self.__rmatmul__(operands[0])
        return Stacked(getattr(ufunc, method)(self.arrays), self.samples)

    def __rmatmul__(self, a: Array) -> Array:
        """Return each row of a (R, n) times its own network's matrix (n, M): (R, M)."""
        rows, n = a.shape
        product: Array = a.reshape(*self._rows(rows), n) @ self.arrays
        return product.reshape(rows, -1)

    def for_rows(self, rows: int) -> Array:
        """Return each row's own array (M,): (R, M)."""
        placed = np.broadcast_to(self.arrays[:, np.newaxis], (*self._rows(rows), *self.shape))
        return placed.reshape(rows, *self.shape)

    def _rows(self, rows: int) -> tuple[int, int, int]:
        """Return steps, networks and samples of so many rows."""
        networks = len(self.arrays)
        samples = self.samples or rows // networks
        return rows // (networks * samples), networks, samples
