"""`tidemill demo`: the platform's main job before your eyes, through its public APIs only."""
