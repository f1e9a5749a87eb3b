"""A plugin that cannot be imported."""

raise RuntimeError("this package was made for another editkit")
