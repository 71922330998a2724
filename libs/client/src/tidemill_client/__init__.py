"""What users of Tidemill import and type: a typed client, and the `tidemill` command."""
