"""What trainer does, one use case a file."""
