"""Learning algorithms of our own; a stock class needs a yaml and nothing here."""
