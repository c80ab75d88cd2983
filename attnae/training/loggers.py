"""Loggers that never stop a training: a failing logger is dropped with one warning; W&B switches to offline mode."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Spec
from lightning.pytorch.loggers.logger import DummyLogger, Logger
from lightning.pytorch.utilities import rank_zero_only

from attnae import online

INIT_TIMEOUT = "30"
"""Time limit in seconds for W&B to start a run on a server that responds."""


@rank_zero_only
def warn(text: str) -> None:
    """Prints a one-line warning on rank 0; the runner also displays it."""
    print(f"attnae: warning: {' '.join(text.split())}", file=sys.stderr, flush=True)


def build(specs: Any) -> list[Logger]:
    """Builds the loggers of a configuration; replaces a logger that cannot be built with a dummy.

    Args:
        specs: ``class_path`` and ``init_args``, or a list of them.
    """
    loggers: list[Logger] = []
    for spec in specs if isinstance(specs, list | tuple) else [specs]:
        name = str(spec.get("class_path")).rpartition(".")[2]
        if name == "WandbLogger" and online.mode() == "online" and not spec.get("init_args", {}).get("offline"):
            _check_wandb(spec.get("init_args", {}).get("save_dir") or ".")
        parser = ArgumentParser(exit_on_error=False)
        parser.add_subclass_arguments(Logger, "logger")
        try:
            loggers.append(parser.instantiate_classes(Spec(logger=spec)).logger)
        except Exception as error:
            _tell_dropped(name, error)
            loggers.append(DummyLogger())  # some callbacks require a logger
    return loggers


def _check_wandb(folder: str) -> None:
    """Switches to offline mode if the server does not respond, because W&B itself would retry for minutes."""
    os.environ.setdefault("WANDB_INIT_TIMEOUT", INIT_TIMEOUT)
    if not online.answers():
        os.environ["WANDB_MODE"] = "offline"
        warn(f"Weights & Biases: {online.server()} does not answer. This run is {online.kept(folder)}")


def _tell_dropped(name: str, error: Exception) -> None:
    told: BaseException = error
    while str(told).startswith("Does not validate") and (inner := told.__cause__ or told.__context__):
        told = inner  # the logger's own error, without the parser's message
    line = f"{type(told).__name__}: {' '.join(str(told).split())}"
    warn(f"{name} failed and was dropped; metrics.csv has all numbers. {line:.300}")


class Guarded(Logger):
    """Forwards everything to a logger until it fails, then does nothing.

    Args:
        inner: The logger.
    """

    def __init__(self, inner: Logger):
        super().__init__()
        self.inner = inner
        self.dropped = False

    def _guard(self, call: Callable[[], Any], instead: Any = None) -> Any:
        if not self.dropped:
            try:
                return call()
            except Exception as error:  # a logger must never stop a training
                self.dropped = True
                _tell_dropped(type(self.inner).__name__, error)
        return instead

    @property
    def name(self) -> str | None:
        """Name of the experiment."""
        return self._guard(lambda: self.inner.name)

    @property
    def version(self) -> int | str | None:
        """Version of the experiment."""
        return self._guard(lambda: self.inner.version)

    @property
    def root_dir(self) -> str | None:
        """Folder of all versions."""
        return self._guard(lambda: self.inner.root_dir)

    @property
    def log_dir(self) -> str | None:
        """Folder of this version."""
        return self._guard(lambda: self.inner.log_dir)

    @property
    def save_dir(self) -> str | None:
        """Folder of all experiments."""
        return self._guard(lambda: self.inner.save_dir)

    @property
    def experiment(self) -> Any:
        """The logger's own object, created on first use. W&B starts offline if it cannot start online."""
        if type(self.inner).__name__ == "WandbLogger" and not self.dropped and online.mode() == "online":
            try:
                return self.inner.experiment  # type: ignore[attr-defined]
            except Exception as error:
                _go_offline(self.inner, error)
        return self._guard(lambda: getattr(self.inner, "experiment", None), DummyLogger().experiment)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs numbers."""
        self._guard(lambda: self.inner.log_metrics(dict(metrics), step))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Logs the configuration."""
        self._guard(lambda: self.inner.log_hyperparams(params, *args, **kwargs))

    def log_graph(self, *args: Any, **kwargs: Any) -> None:
        """Logs the network's graph."""
        self._guard(lambda: self.inner.log_graph(*args, **kwargs))

    def after_save_checkpoint(self, *args: Any) -> None:
        """Notifies the logger of a checkpoint."""
        self._guard(lambda: self.inner.after_save_checkpoint(*args))

    def save(self) -> None:
        """Writes what was logged."""
        self._guard(lambda: self.inner.save())

    def finalize(self, status: str) -> None:
        """Ends the experiment."""
        self._guard(lambda: self.inner.finalize(status))

    def __getattr__(self, name: str) -> Any:
        """Other methods of the logger, such as ``log_image``."""
        if "inner" not in self.__dict__:  # during copying
            raise AttributeError(name)
        found = getattr(self.inner, name)
        return (lambda *args, **kwargs: self._guard(lambda: found(*args, **kwargs))) if callable(found) else found


def _go_offline(logger: Logger, error: Exception) -> None:
    """Restarts W&B in offline mode."""
    import wandb

    os.environ["WANDB_MODE"] = "offline"
    wandb.teardown()  # it has already read its mode
    line = " ".join(str(error).split())
    warn(f"Weights & Biases could not start the run ({line:.200}). It is {online.kept(logger.save_dir or '.')}")


def guarded(loggers: Iterable[Logger]) -> list[Logger]:
    """Wraps each logger in :class:`Guarded`."""
    return [Guarded(each) for each in loggers]
