"""Cost of checkpoints: time of a save over the training time between two saves."""

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import Effort, Result, Row
from so101rl.config.compose import compose
from so101rl.runs.run_dir import RunDir
from so101rl.training.callbacks import CheckpointCallback
from so101rl.training.trainer import Trainer

LIMIT = 2.0  # [%]
STEPS = {"ppo": 16_384, "sac": 4_096}  # env steps per repeat
MIB = 2**20


def measure(effort: Effort) -> Result:
    """Saves of PPO, and of SAC with its replay buffer full, at the default interval."""
    rows = []
    for algo, steps in STEPS.items():
        shares, seconds, size = [], [], 0.0
        for _ in range(effort.repeats):
            with tempfile.TemporaryDirectory() as name:
                found = _train(algo, steps // 4 if effort.quick else steps, Path(name))
            saves, training, every, size = found
            seconds += saves
            # The training time of one interval at the measured speed.
            shares += [100 * save / (training * every) for save in saves]
        rows += [
            Row(f"{algo}: a save, {size:.1f} MiB", "s", seconds),
            Row(f"{algo}: saves, of wall clock", "%", shares, LIMIT, "<="),
        ]
    return Result("saving", "Checkpoints that resume exactly", rows)


def _train(
    algo: str, steps: int, folder: Path
) -> tuple[list[float], float, int, float]:
    """Train with one or two saves.

    Returns:
        Seconds per save, seconds of training per env step, the default interval [env
        steps], and the size of a checkpoint [MiB].
    """
    cfg = compose([f"algo={algo}", "tracking=none", "evaluation.video=false"])
    cfg.evaluation.select_episodes = 1
    every, cfg.checkpoint_every = cfg.checkpoint_every, max(steps // 2, 1)
    cfg.total_timesteps, cfg.evaluation.every = steps, 10 * steps
    if "learning_starts" in cfg.algo:
        cfg.algo.learning_starts = 0
    trainer = Trainer(cfg)
    model: Any = trainer.model
    if getattr(model, "replay_buffer", None) is not None:
        model.replay_buffer.full = True  # of zeros: only the size matters
    saves: list[float] = []
    save = CheckpointCallback._save

    def timed(self: CheckpointCallback) -> None:
        begin = time.perf_counter()
        save(self)
        saves.append(time.perf_counter() - begin)

    run = RunDir.create(folder / "run", cfg=cfg, command="saving")
    CheckpointCallback._save = timed  # type: ignore[method-assign]
    try:
        with run.lifecycle():
            begin = time.perf_counter()
            trainer.learn(run)
            seconds = time.perf_counter() - begin
    finally:
        CheckpointCallback._save = save  # type: ignore[method-assign]
    newest = max(run.checkpoints.glob("step-*"), key=lambda path: path.stat().st_mtime)
    size = sum(path.stat().st_size for path in newest.iterdir()) / MIB
    return saves, (seconds - sum(saves)) / steps, every, size
