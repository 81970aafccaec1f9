"""Roles never share an episode."""

import itertools

import numpy as np
import pytest

from so101rl.seeds import MAX_EPISODES, ROLES, episode_seeds

ROOTS = (0, 1, 2, 77, 2**31, 2**32 - 1)


def test_no_two_roles_or_roots_share_an_episode():
    blocks = [set(episode_seeds(root, role, 300)) for root in ROOTS for role in ROLES]
    assert all(len(block) == 300 for block in blocks)
    for first, second in itertools.combinations(blocks, 2):
        assert first.isdisjoint(second)


def test_blocks_cannot_meet_however_long_they_are():
    ends = sorted(
        (
            episode_seeds(root, role, 1)[0],
            episode_seeds(root, role, 1, MAX_EPISODES - 1)[0],
        )
        for root in ROOTS
        for role in ROLES
    )
    for (_, last), (first, _) in itertools.pairwise(ends):
        assert last < first


def test_episodes_are_numbered():
    ten = episode_seeds(3, "report", 10)
    assert episode_seeds(3, "report", 4, first=6) == ten[6:]
    assert episode_seeds(3, "report", 5) == ten[:5]


def test_every_seed_fits_what_numpy_and_json_can_hold():
    largest = episode_seeds(2**32 - 1, ROLES[-1], 1, MAX_EPISODES - 1)[0]
    assert 0 < largest < 2**63
    assert np.int64(largest) == largest


def test_more_episodes_than_a_role_has_are_refused():
    with pytest.raises(ValueError, match="asked for"):
        episode_seeds(0, "train", 2, first=MAX_EPISODES - 1)
    with pytest.raises(ValueError):
        episode_seeds(0, "final", 1)
