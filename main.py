"""`python main.py --help` lists the groups, the keys and examples."""

import sys

from so101rl.cli import main

if __name__ == "__main__":
    sys.exit(main())
