"""Gymnasium ids, one for every file in `conf/env`.

`conf/env/paper_push.yaml` is `so101rl/PaperPush-v0`. Importing this module registers
them; `import gymnasium, so101rl` does so too, and neither costs more than Gymnasium
itself. What is made is composed from the same yaml files as everything else.
"""

import gymnasium

from so101rl.files import shipped


def env_id(option: str) -> str:
    """Gymnasium's id of an option of the config group `env`."""
    name = "".join(word.capitalize() for word in option.split("_"))
    return f"so101rl/{name}-v0"


for _path in sorted((shipped("conf") / "env").glob("*.yaml")):
    gymnasium.register(
        id=env_id(_path.stem),
        entry_point="so101rl.api:make",
        vector_entry_point="so101rl.api:make_vec",
        kwargs={"env": _path.stem},
    )
