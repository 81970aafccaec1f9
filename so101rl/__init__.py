"""Residual reinforcement learning for the SO-101 arm."""

import sys

__version__ = "0.1.0"

if "gymnasium" in sys.modules:  # `import gymnasium, so101rl` makes the ids known
    from so101rl import registration  # noqa: F401
