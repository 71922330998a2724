"""Trains on several machines: what each pod of a rendered manifest runs."""
