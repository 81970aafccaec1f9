"""Every algorithm of `conf/algo` as small as it can be, with `conftest.SHORT`."""

from conftest import OFF_POLICY, PPO_KEYS

TINY = {
    "ppo": PPO_KEYS,
    "sac": OFF_POLICY,
    "td3": OFF_POLICY,
    "tqc": [*OFF_POLICY, "algo.policy_kwargs.n_quantiles=5"],
    # Batch statistics give way to running ones half-way through a training.
    "crossq": [*OFF_POLICY, "algo.policy_kwargs.renorm_warmup_steps=14"],
    "trpo": PPO_KEYS,
    "recurrent_ppo": [*PPO_KEYS, "algo.policy_kwargs.lstm_hidden_size=8"],
}


def tiny(algo: str) -> list[str]:
    """The words that choose an algorithm and make it tiny."""
    return [f"algo={algo}", *TINY[algo]]
