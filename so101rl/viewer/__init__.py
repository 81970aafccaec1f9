"""Watching a policy or the task: in a window, in a browser, in pictures."""
