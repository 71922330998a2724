"""Model artifacts: manifests, the local cache, checks before a model is loaded."""
