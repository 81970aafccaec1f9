"""Watching: in a window, in a browser, in pictures."""
