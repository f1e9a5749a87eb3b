"""The page itself, built with NiceGUI."""
