"""Projects, who may do what in them, and the credentials that prove it."""
