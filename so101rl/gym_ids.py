"""Registers a Gymnasium id for every file in `conf/env`, when imported.

`conf/env/paper_push.yaml` is `so101rl/PaperPush-v0`. This module is imported as soon as
both `so101rl` and `gymnasium` are. The environments are composed from the same yaml
files as any run.
"""

import gymnasium

from so101rl.files import shipped


def env_id(option: str) -> str:
    """Return the Gymnasium id of an option of the config group `env`."""
    name = "".join(word.capitalize() for word in option.split("_"))
    return f"so101rl/{name}-v0"


for _path in sorted((shipped("conf") / "env").glob("*.yaml")):
    gymnasium.register(
        id=env_id(_path.stem),
        entry_point="so101rl.api:make",
        vector_entry_point="so101rl.api:make_vec",
        kwargs={"env": _path.stem},
    )
