"""Keeps accepted signals on disk until the service has them. Its format is described in docs/python.md."""
