"""Erasure: what a service has of a deleted project, an end user or a document is removed, and that is reported."""
