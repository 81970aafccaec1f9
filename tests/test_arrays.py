"""The short spellings are NumPy's own, bit for bit."""

import numpy as np
import pytest

from so101rl import arrays

ODD = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-320, 0.3]


@pytest.fixture
def numbers():
    drawn = np.random.default_rng(0).normal(size=(64, 9))
    return np.concatenate([drawn, [ODD]])


@pytest.mark.parametrize("low, high", [(-1.0, 1.0), (np.zeros(9), np.ones(9))])
def test_clip_is_numpys(numbers, low, high):
    assert arrays.clip(numbers, low, high).tobytes() == (
        np.clip(numbers, low, high).tobytes()
    )


@pytest.mark.parametrize("size", [2, 3, 9])
def test_norm_is_numpys(numbers, size):
    vectors = numbers[:, :size]
    wanted = np.linalg.norm(vectors, axis=-1)
    np.testing.assert_array_equal(arrays.norm(vectors), wanted)
