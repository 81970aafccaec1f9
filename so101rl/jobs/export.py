"""`job=export`: a policy and its base in one file that needs nothing but torch."""

from omegaconf import DictConfig

from so101rl.policies.export import export_policy


def export(cfg: DictConfig) -> None:
    """Write `export/policy.ts` and `policy.json` into `run=RUN_DIR`."""
    print(f"exported: {export_policy(cfg)}", flush=True)
