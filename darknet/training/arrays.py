"""Array types of this package."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]


def floats(values: npt.ArrayLike) -> FloatArray:
    """Return numbers as a float32 array."""
    return np.asarray(values, np.float32)
