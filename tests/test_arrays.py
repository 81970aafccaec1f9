import numpy as np

from so101rl import arrays


def test_clip_and_norm_are_numpys_bit_for_bit():
    special = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-320, 0.3]
    numbers = np.vstack([np.random.default_rng(0).normal(size=(64, 9)), special])
    for bounds in ((-1.0, 1.0), (np.zeros(9), np.ones(9))):
        wanted = np.clip(numbers, *bounds)
        assert arrays.clip(numbers, *bounds).tobytes() == wanted.tobytes()
    for size in (2, 3, 9):
        wanted = np.linalg.norm(numbers[:, :size], axis=-1)
        np.testing.assert_array_equal(arrays.norm(numbers[:, :size]), wanted)
