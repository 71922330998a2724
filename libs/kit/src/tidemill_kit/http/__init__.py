"""HTTP: where outgoing calls may go."""
