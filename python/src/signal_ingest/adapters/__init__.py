"""Adapters for libraries of agents. Each needs its library, and nothing else of this package needs it."""
