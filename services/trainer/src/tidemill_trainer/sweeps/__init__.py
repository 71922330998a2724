"""Sweeps: searches a plan's recipe for better settings."""
