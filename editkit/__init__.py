"""Edit images with diffusion models; operations, inverters, samplers and models are plugins.

The public names are listed in ``__init__.pyi`` and imported on first use, so that neither the specs of a plugin nor the
command line import torch.
"""


def __getattr__(name: str) -> object:
    """Return a public name, or ``__all__``; the list is read at the first use.

    Importing the package takes no time then, and an interrupt of the command line finds its handler in ``__main__``.
    """
    import lazy_loader

    attach, names, every = lazy_loader.attach_stub(__name__, __file__)
    globals().update(__getattr__=attach, __dir__=names, __all__=every)
    return every if name == "__all__" else attach(name)


def __dir__() -> list[str]:
    return sorted(__getattr__("__all__"))
