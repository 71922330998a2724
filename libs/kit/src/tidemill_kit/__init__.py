"""Technical plumbing that every service stands on; no business noun lives here."""
