"""The `tidemill` command: tables for people, --json for programs."""
