"""A trained residual: on disk, in use, exported."""
