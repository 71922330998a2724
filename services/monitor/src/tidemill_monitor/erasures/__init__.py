"""Erasure of projects, end users and documents in all services, and the certificates of that."""
