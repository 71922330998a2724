"""Derivations: versions of models that are made of other versions."""
