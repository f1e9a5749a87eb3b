"""Engines: where the workers of a batch run."""
