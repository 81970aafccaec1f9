"""`job=export`: a policy and its base in one file that needs nothing but torch."""

from omegaconf import DictConfig

from so101rl.policies.export import exported


def export(cfg: DictConfig) -> None:
    """Write `export/policy.ts` and `policy.json` into `run=RUN_DIR`."""
    print(f"exported: {exported(cfg)}", flush=True)
