"""A search for better values with Optuna."""
