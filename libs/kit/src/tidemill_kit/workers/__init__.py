"""Work in the background: leases, bounded processes, a fair share for each project."""
