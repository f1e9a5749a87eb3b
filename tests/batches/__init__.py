"""Jobs of ``editkit batch`` with bad rows and killed processes."""
