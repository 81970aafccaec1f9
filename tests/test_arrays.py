import numpy as np
import pytest

from so101rl import arrays

SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-320, 0.3]
DRAWN = np.random.default_rng(0).normal(size=(64, 9))
NUMBERS = np.concatenate([DRAWN, [SPECIAL]])


@pytest.mark.parametrize("low, high", [(-1.0, 1.0), (np.zeros(9), np.ones(9))])
def test_clip_is_numpys_bit_for_bit(low, high):
    clipped = arrays.clip(NUMBERS, low, high)
    assert clipped.tobytes() == np.clip(NUMBERS, low, high).tobytes()


@pytest.mark.parametrize("size", [2, 3, 9])
def test_norm_is_numpys_bit_for_bit(size):
    vectors = NUMBERS[:, :size]
    wanted = np.linalg.norm(vectors, axis=-1)
    np.testing.assert_array_equal(arrays.norm(vectors), wanted)
