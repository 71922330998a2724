"""The deriving process: merges an adapter into its base, and quantizes weights."""
