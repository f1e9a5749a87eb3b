"""What plugins register."""

from .registry import Registry as Registry
from .registry import installed as installed
