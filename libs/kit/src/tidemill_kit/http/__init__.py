"""HTTP: the edge and the server of a service's APIs."""
