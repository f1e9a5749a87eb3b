"""Registered operations as functions, those of other packages too: ``editkit.ops.img2img(image, prompt=...)``.

``ops.pyi`` has the types of editkit's own operations; ``python docs/generate.py`` writes it.
"""

from . import functions as _functions

__dir__ = _functions.function_names
__getattr__ = _functions.function_of
