"""Tasks: what the arm should achieve, batched."""
