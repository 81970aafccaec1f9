"""Videos of held-out episodes: worst, median, best; base and residual side by side."""

from collections.abc import Mapping, Sequence

from so101rl.envs.task import HIGHER, Number
from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.evaluation.rollout import Episode
from so101rl.figures.failure_classes import label_of
from so101rl.rendering.renderer import drawable
from so101rl.rendering.video import EpisodeClip, episode_video
from so101rl.runs.run_dir import RunDir

EVERY = 2  # control steps per frame
SPEED = 2  # of the comparison, which draws two scenes per frame


def write_videos(
    run: RunDir, env: ResidualEnv, played: Mapping[str, Sequence[Episode]]
) -> None:
    """Write `videos/LAST.mp4` and, with several policies, `videos/comparison.mp4`.

    Args:
        run: where the videos are written.
        env: the environments in which the episodes were played.
        played: the same episodes by policy; those of the last policy are ranked.
    """
    last, hz = list(played)[-1], env.env.control_hz
    numbers = env.env.numbers
    chosen = worst_median_best(played[last], numbers)
    model = drawable(env.env.hardware).drawn_model()
    # Antialiasing takes more than half of the time; a video blurs edges anyway.
    model.vis.quality.offsamples = 0
    episode_video(
        run.file(f"videos/{last}.mp4"),
        model=model,
        rows=[
            [_clip(f"{name}: {last}", played[last][i], numbers)]
            for name, i in chosen.items()
        ],
        fps=hz,
        every=EVERY,
    )
    if len(played) == 1:
        return
    chosen |= newly_solved_or_failed(played["base"], played[last])
    episode_video(
        run.file("videos/comparison.mp4"),
        model=model,
        rows=[
            [
                _clip(f"{name}: {policy}, {SPEED} x speed", episodes[i], numbers)
                for policy, episodes in played.items()
            ]
            for name, i in chosen.items()
        ],
        fps=SPEED * hz,
        every=SPEED * EVERY,
        width=480,
        height=360,
    )


def worst_median_best(
    episodes: Sequence[Episode], numbers: Sequence[Number]
) -> dict[str, int]:
    """Return the indices of the worst, median and best episode.

    Best is solved soonest; worst is not solved and has the worst first number at its
    end, or the lowest return if the task measures nothing.

    Args:
        episodes: the episodes.
        numbers: what the task measures.
    """

    def merit(index: int) -> tuple[bool, int, float]:
        episode, rank = episodes[index], episodes[index].total_reward
        if numbers:
            sign = 1 if numbers[0].better == HIGHER else -1
            rank = sign * episode.numbers[numbers[0].name]
        return episode.is_success, -episode.length, rank

    ranked = sorted(range(len(episodes)), key=merit)
    return {"worst": ranked[0], "median": ranked[len(ranked) // 2], "best": ranked[-1]}


def newly_solved_or_failed(
    before: Sequence[Episode], now: Sequence[Episode]
) -> dict[str, int]:
    """Return the index of the first newly solved and of the first newly failed episode.

    A key is missing if there is no such episode.
    """
    pairs = [(b.is_success, n.is_success) for b, n in zip(before, now, strict=True)]
    wanted = {"fixed": (False, True), "broken": (True, False)}
    return {name: pairs.index(kind) for name, kind in wanted.items() if kind in pairs}


def _clip(title: str, episode: Episode, numbers: Sequence[Number]) -> EpisodeClip:
    captions = [""] * episode.length
    if numbers:
        number, unit = numbers[0], f" {numbers[0].unit}".rstrip()
        values = number.factor * episode.trajectory.numbers[number.name]
        captions = [f"{number.title} {value:.0f}{unit}" for value in values]
    assert episode.qpos is not None  # only simulated episodes are filmed
    return EpisodeClip(
        title=title,
        qpos=episode.qpos,
        captions=captions,
        is_success=episode.is_success,
        outcome=label_of(episode.failure),
    )
