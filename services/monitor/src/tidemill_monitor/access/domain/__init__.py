"""Projects, members, service accounts, API keys and roles."""
