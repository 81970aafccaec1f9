"""What two tasks tell about themselves: `paper_push`, and a made-up one of a cube."""

from dataclasses import asdict

from so101rl.envs.paper_push import PaperPush
from so101rl.robots.so101 import JOINTS
from so101rl.runs.task import NumberInfo, PartInfo, TaskInfo
from so101rl.scene.parts import Box, Spot, TapedSquare

COMMON = {
    "ends_on_success": True,
    "control_hz": 30,
    "simulated": True,
    "actions": JOINTS,
    "robot": "SO-101",
}
RED, WHITE = (0.8, 0.1, 0.1, 1.0), (0.95, 0.95, 0.93, 1.0)


def _info(**parts):
    return {
        name: PartInfo(free=part.free, outline=part.outline(), rgba=part.rgba)
        for name, part in parts.items()
    }


PUSH = TaskInfo(
    instruction=PaperPush.instruction,
    numbers=tuple(NumberInfo(**asdict(number)) for number in PaperPush.numbers),
    failures=PaperPush.failures,
    reward_terms=("reach", "progress"),
    max_episode_steps=400,
    parts=_info(
        square=TapedSquare(centre=(0.25, 0.06), side=0.16, width=0.012, rgba=RED),
        object=Box(size=(0.105, 0.148, 0.001), mass=0.005, rgba=WHITE),
    ),
    **COMMON,
)
GAP = NumberInfo(name="gap_m", title="gap", unit="mm", factor=1000, better="lower")
CUBE = TaskInfo(
    instruction="put the cube on the spot",
    numbers=(GAP,),
    failures={"never_touched": "It was not moved.", "missed": "It lies elsewhere."},
    reward_terms=("near",),
    max_episode_steps=40,
    parts=_info(
        spot=Spot(centre=(0.25, 0.06), radius=0.03, rgba=WHITE),
        red_cube=Box(size=(0.03, 0.03, 0.03), mass=0.02, rgba=RED),
    ),
    **COMMON,
)


def content(task):
    """What `task.json` has of a task."""
    plain = asdict(task)
    for part in plain["parts"].values():
        part["outline"] = part["outline"].tolist()
    return plain
