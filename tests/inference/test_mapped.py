from __future__ import annotations

import numpy as np
import pytest

from superres.inference.mapped import mapped_zeros


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 2000, 1500), (1, 0, 5)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_zeros_that_can_be_written(shape: tuple[int, ...], dtype: str) -> None:
    found = mapped_zeros(shape, np.dtype(dtype))
    assert (found.shape, found.dtype) == (shape, np.dtype(dtype))
    assert found.flags.c_contiguous
    assert not found.any()
    found[...] = 7
    assert (found == 7).all()
