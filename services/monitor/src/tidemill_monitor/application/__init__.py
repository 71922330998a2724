"""What monitor does: it writes the history down, reads it, and keeps it bounded."""
