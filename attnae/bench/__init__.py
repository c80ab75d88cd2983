"""The benchmark runner: catalog -> plan -> running -> store -> reporting. Imports neither torch nor lightning.

From Python:

>>> import attnae.bench as bench
>>> results = bench.run("saaae_vs_vae", variants=["vae", "saaae"], seeds=3, data="photos/")  # doctest: +SKIP
>>> results = bench.results("reports")  # doctest: +SKIP

All errors that the commands print in one line are raised as :class:`Error`.
"""

from attnae.bench.api import Results, results, run
from attnae.errors import UserError as Error

__all__ = ["Error", "Results", "results", "run"]
