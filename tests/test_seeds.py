import itertools

import pytest

from so101rl.seeds import MAX_EPISODES, ROLES, episode_seeds, tuning_roots


def test_no_two_roles_or_roots_share_an_episode_however_many_they_have():
    pairs = itertools.product((0, 1, 2, 77, 2**31, 2**32 - 1), ROLES)
    ends = sorted(
        (*episode_seeds(*pair, 1), *episode_seeds(*pair, 1, MAX_EPISODES - 1))
        for pair in pairs
    )
    for (first, last), (after, _) in itertools.pairwise(ends):
        assert last - first == MAX_EPISODES - 1
        assert last < after
    assert ends[0][0] > 0 and ends[-1][1] < 2**63  # fits an int64


def test_episodes_are_numbered_and_those_that_do_not_exist_refused():
    ten = episode_seeds(3, "report", 10)
    assert len(set(ten)) == 10
    assert [episode_seeds(3, "report", 1, first=n)[0] for n in range(10)] == ten
    with pytest.raises(ValueError, match="asked for"):
        episode_seeds(0, "train", 2, first=MAX_EPISODES - 1)
    with pytest.raises(ValueError):
        episode_seeds(0, "final", 1)
    with pytest.raises(ValueError, match="expected at most 100"):
        tuning_roots(0, 101)
