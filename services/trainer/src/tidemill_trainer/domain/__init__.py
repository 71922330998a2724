"""Models and their versions: what may become one, and when it may be loaded."""
