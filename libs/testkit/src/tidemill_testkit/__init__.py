"""Fakes and fixtures for the tests of every package."""
