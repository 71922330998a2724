"""The deriving process: merges an adapter into its base, quantizes weights, and prunes them."""
