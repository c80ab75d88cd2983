"""attnae: reproductions of papers on attention in autoencoders and denoisers.

Importing this package is cheap: neither torch nor lightning is loaded until a module that needs them is imported.
"""

__version__ = "0.1.0"
