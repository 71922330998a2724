"""Stubs of services, each shipped by its service and held to the real one by the service's own suite."""
