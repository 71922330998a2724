"""`tidemill demo`: an end-to-end run of the platform through its public APIs."""
