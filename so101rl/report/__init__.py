"""`job=report`: runs of a study as a table that can be traced and computed again."""
