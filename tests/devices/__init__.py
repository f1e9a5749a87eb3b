"""A device without hardware, which counts how often the host waits for it."""
