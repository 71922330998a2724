"""HTTP: the edge and the server of a service's APIs, and where outgoing calls may go."""
