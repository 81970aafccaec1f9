"""`python -m so101rl`, and the command `so101rl`: the same as `python main.py`."""

import sys

from so101rl.cli import main

if __name__ == "__main__":
    sys.exit(main())
