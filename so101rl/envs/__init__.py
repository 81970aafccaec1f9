"""Tasks as batched environments."""
