"""Stores, hub and files behind the ports."""
