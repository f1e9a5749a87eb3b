"""Pipelines of diffusers that are in memory: their parts, shared, and their identity."""
