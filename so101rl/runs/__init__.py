"""One run on disk: its files, its status, its size."""
