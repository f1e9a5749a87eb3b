"""Attention of the networks of diffusers, computed by a function in place of theirs."""
