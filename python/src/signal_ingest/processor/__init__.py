"""Gathers signals into batches and sends several at once, with threads or in an event loop."""
