"""One run on disk: what it writes, how it ends, what it weighs."""
