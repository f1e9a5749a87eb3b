"""Edit images with diffusion models; operations, inverters, samplers and models are plugins.

The public names are listed in ``__init__.pyi`` and imported on first use, so that neither the specs of a plugin nor the
command line import torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
