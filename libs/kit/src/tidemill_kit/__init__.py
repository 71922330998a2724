"""Technical plumbing that every service stands on; it has no business nouns."""
