"""Networks in one file, as they circulate: safetensors and GGUF, by the names of diffusers or the original code."""
