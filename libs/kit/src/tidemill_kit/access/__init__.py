"""Who calls, and what the caller may do: credentials are signed tokens, checked here without asking their issuer."""
