"""Training a residual: the trainer and what happens beside learning."""
