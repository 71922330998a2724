"""Legal holds: what they cover is not erased."""
