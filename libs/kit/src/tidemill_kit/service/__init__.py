"""A service process, from its readiness to SIGTERM."""
