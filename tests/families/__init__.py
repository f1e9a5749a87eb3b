"""Tiny pipelines of random weights, one of every image family of the installed diffusers."""
