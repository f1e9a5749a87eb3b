"""Contract of plugins: parameters, specs and hooks, and the registry of installed plugins."""

from .registry import Registry as Registry
from .registry import installed as installed
