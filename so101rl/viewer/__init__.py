"""Shows a policy or the task: in a window, in a browser, or as pictures."""
