"""Models, versions and their sources."""
