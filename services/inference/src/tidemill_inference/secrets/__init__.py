"""Keys of remote models: of a project, for hosts, set by its admins or by the operator, and never read again."""
