"""Adapters that condition a network on an image beside the prompt: IP-Adapter and FLUX.1 Redux."""
