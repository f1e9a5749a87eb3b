"""editkit turns an image into noise and back, and lets plugins steer the way back.

The public names are listed in ``__init__.pyi`` and imported on first use, so that neither a plugin's specs nor the
command line start torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
