"""The benchmark runner from Python: :func:`run`, :func:`results` and :class:`Results`, which ``attnae.bench`` exports."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnae.errors import UserError
from attnae.paths import absolute

if TYPE_CHECKING:
    from typing import TypeGuard

    import pandas

    from attnae.bench.reporting.material import Loaded


def run(
    benchmark: str | Path,
    *,
    profile: str | None = None,
    variants: str | Sequence[str] | None = None,
    seeds: int | Sequence[int] = 1,
    data: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    precision: str = "fp32",
    label: str | None = None,
    out: str | Path = "runs",
    reports: str | Path = "reports",
    jobs: int | None = None,
    devices: int = 1,
    timeout: float | None = None,
    retry_failed: bool = False,
    retest: bool = False,
    extend: int | None = None,
    keep_checkpoints: bool = False,
    wandb: str | bool = False,
    yes: bool = False,
) -> Results:
    """Trains and tests variants and writes the report, as ``attnae-bench run`` does: the same plan, processes and files.

    Complete runs are not repeated. In a notebook, progress is a live table below the cell.

    Args:
        benchmark: Name of a benchmark, or path of a benchmark file of your own, whose code is then imported.
        profile: Data and schedule; default: the first profile of the benchmark, a demonstration.
        variants: Names, or ``"all"``; default: those that ``attnae-bench list`` marks.
        seeds: Number of seeds, or the seeds themselves.
        data: Images to use instead of the profile's: a folder, arrays, an archive, Parquet, or ``hf://owner/name``.
        overrides: Keys of ``attnae fit`` with their values, such as ``{"trainer.max_epochs": 3}``; text is read as after
            ``--set``.
        grid: Keys with several values each. The comparison is repeated for all combinations, and a page tells whether its
            conclusions change.
        precision: ``fp32``, ``bf16``, or ``auto`` for bf16 where the hardware has it.
        label: Name of the report; default: profile, data and settings.
        out: Folder of the runs.
        reports: Folder of the reports.
        jobs: Number of concurrent runs; default: 1; on a CPU, the number of cores divided by the profile's ``threads``, if
            it has any.
        devices: GPUs, or CPU processes, that train one run together.
        timeout: Minutes after which a run is stopped and counts as failed.
        retry_failed: Whether to repeat failed runs.
        retest: Whether to test complete runs again instead of training.
        extend: Total number of epochs to which finished runs are continued; their checkpoints must have been kept.
        keep_checkpoints: Whether to keep the state of the optimizer.
        wandb: Whether to log to Weights & Biases, or the project there (default: ``attnae``).
        yes: Whether to start a grid of more than 100 runs.

    Returns:
        All results of the label, or of all points of the grid, that can share a table with these runs. A failed run is a
        row with its reason.

    Raises:
        attnae.bench.Error: An argument is wrong, or no run is complete.
        KeyboardInterrupt: The runs were stopped; what is complete is kept, and the same call resumes.

    Example:
        >>> import attnae.bench as bench
        >>> results = bench.run("saaae_vs_vae", variants=["vae", "saaae"], seeds=3)  # doctest: +SKIP
        >>> results.frame()[["variant", "seed", "heldout/psnr_mean"]]  # doctest: +SKIP
    """
    from attnae.bench import app
    from attnae.bench.commands import run as command

    words = ["run", f"--precision={precision}", f"--devices={devices}", f"--out={out}", f"--reports={reports}"]
    words += [f"--seeds={''.join(f'{seed},' for seed in seeds) if _several(seeds) else seeds}"]
    variants = ",".join(map(str, variants)) if _several(variants) else variants
    words += [f"--set={key}={_text(key, value)}" for key, value in _items(overrides)]
    words += [f"--grid={key}={','.join(_json(key, one) for one in values)}" for key, values in _axes(grid)]
    if data is not None and not isinstance(data, str | os.PathLike):
        raise UserError(
            f"data must be the path of images, got {type(data).__name__}. Save arrays as train.npy and test.npy in a folder."
        )
    named = {"profile": profile, "data-root": data, "label": label, "jobs": jobs, "timeout": timeout, "extend": extend}
    for name, given in {**named, "variants": variants, "wandb": wandb if isinstance(wandb, str) else None}.items():
        words += [] if given is None else [f"--{name}={given}"]
    switches = {"retry-failed": retry_failed, "retest": retest, "keep-checkpoints": keep_checkpoints, "yes": yes,
                "wandb": bool(wandb) and not isinstance(wandb, str)}  # fmt: skip
    words += [f"--{name}" for name, given in switches.items() if given]
    with _one_class():
        options = app.parser(["run"]).parse_args([*words, "--", str(benchmark)])
        code, _, found = command.perform(options)
    if code == 130:
        raise KeyboardInterrupt
    if not found:
        raise UserError(f"No run of {benchmark} is complete. See the log named above.")
    return Results(found)


def results(folder: str | Path = "reports") -> Results:
    """Loads results that were made earlier.

    Args:
        folder: Folder of reports, one report, or folder of runs.

    Returns:
        The results of all benchmarks below the folder.

    Raises:
        attnae.bench.Error: There are none, or a file cannot be read.

    Example:
        >>> import attnae.bench as bench
        >>> rows = bench.results("reports/moe_denoising").rows()  # doctest: +SKIP
        >>> bench.results("nowhere")
        Traceback (most recent call last):
        ...
        attnae.errors.UserError: No results below nowhere. Run `attnae-bench run BENCHMARK` first, ...
    """
    from attnae.bench import catalog, sharing, store
    from attnae.bench.reporting import report

    found = []
    with _one_class():
        tables = sharing.tables(store.results(absolute(str(folder))))
        for table in tables:
            if table.benchmark in catalog.names():
                one, folders = report.loaded(table, Path("reports"))
                kept = next((path.parent for path in folders.values() if path.name == "runs"), one.folder)
                found.append((replace(one, folder=kept), folders))
    if not found:
        raise UserError(
            f"No results of a known benchmark below {folder}; it has {', '.join(sorted({t.benchmark for t in tables}))}. "
            f"Available: {', '.join(catalog.names())}."
        )
    return Results(found)


@contextmanager
def _one_class() -> Iterator[None]:
    """Errors of the system, such as a full disk, become the class that callers catch; commands print them in one line, too."""
    try:
        yield
    except OSError as error:
        raise UserError(str(error)) from error


def _several(value: object) -> TypeGuard[Iterable[object]]:
    """Whether a value is a collection; text is one value, written as in the shell."""
    return isinstance(value, Iterable) and not isinstance(value, str)


def _items(overrides: Mapping[str, Any] | None) -> Iterable[tuple[str, Any]]:
    if not isinstance(overrides, Mapping | None):
        raise UserError(f"overrides={overrides!r}: expected a dictionary such as {{'trainer.max_epochs': 3}}.")
    return (overrides or {}).items()


def _axes(grid: Mapping[str, Sequence[Any]] | None) -> Iterable[tuple[str, Iterable[Any]]]:
    if not isinstance(grid, Mapping | None) or not all(map(_several, (grid or {}).values())):
        raise UserError(
            f"grid={grid!r}: expected a dictionary of lists such as {{'model.init_args.lr': [1e-3, 3e-4]}}."
        )
    return (grid or {}).items()


def _text(key: str, value: Any) -> str:
    """A value as ``--set`` reads it."""
    return str(value) if isinstance(value, str | Path) else _json(key, value)


def _json(key: str, value: Any) -> str:
    """A value as JSON, which ``--set`` and ``--grid`` read. Paths are text; numbers and arrays of NumPy are numbers and lists.

    Raises:
        UserError: A configuration cannot contain it.
    """

    def plain(part: Any) -> Any:
        if isinstance(part, Path):
            return str(part)
        if hasattr(part, "tolist"):
            return part.tolist()
        raise UserError(f"{key}={part!r} is neither a number, text, list, dictionary, True, False nor None.")

    try:
        return json.dumps(value, default=plain)
    except (TypeError, ValueError) as error:  # keys that are no text, or a list that contains itself
        raise UserError(f"{key}: {error}.") from error


class Results:
    """Results of benchmark runs, by report: what one table may compare.

    Args:
        loaded: Reports, and the folders of their results.
    """

    def __init__(self, loaded: Sequence[Loaded]):
        self.reports = [report for report, _ in loaded]
        self._folders = [folders for _, folders in loaded]

    def __len__(self) -> int:
        """Number of runs."""
        return sum(len(report.results) for report in self.reports)

    def __repr__(self) -> str:
        """Number of runs and the reports they belong to."""
        names = ", ".join(f"{report.benchmark.name}/{report.label}" for report in self.reports)
        return f"<Results: {len(self)} runs of {names}>"

    def _repr_markdown_(self) -> str:
        """Answers and leading tables, for notebooks."""
        from attnae.bench.reporting import answer, tables
        from attnae.paths import shown

        blocks = []
        for report in self.reports:
            csv = shown(report.folder / "results.csv") if report.folder else "results.csv"
            leading = [
                one.replace("(results.csv)", f"({csv})") for one in tables.protocols(report) if one.startswith("## ")
            ]
            blocks += [f"**{report.benchmark.title}** ({report.label})", " ".join(answer.sentences(report)), *leading]
        return "\n\n".join(blocks)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary per run.

        Returns:
            ``benchmark``, ``label``, ``variant``, ``seed``, ``status``, ``reason``, ``profile``, ``precision``,
            ``data_digest``, then metrics by ``"<protocol>/<name>"`` and costs by name, in the units of the metrics page.
            A metric that a run does not have is absent. Metrics are those that the report compares: where a benchmark
            averages the last epochs, their means.

        Example:
            >>> row = bench.results("reports/moe_ablation").rows()[0]
            >>> row["benchmark"], row["variant"], row["seed"], row["status"]
            ('moe_ablation', 'moe_clamped', 1, 'complete')
        """
        from attnae.bench.reporting import flat

        return [row for report in self.reports for row in flat.runs(report)]

    def claims(self) -> list[dict[str, Any]]:
        """One dictionary per claim and report.

        Returns:
            ``benchmark``, ``label``, ``number``, ``claim``, ``left``, ``right``, ``metrics`` (separated by spaces),
            ``primary``, ``verdict``, ``estimate`` (left minus right, in the unit of the metric), ``low`` and ``high`` (ends
            of the interval over seeds), ``level`` of that interval, ``n`` (seeds), ``published`` (difference), ``size``
            (share of the published effect in words) and ``condition``. What is unknown is ``None``.

        Example:
            >>> claim = bench.results("reports/moe_ablation").claims()[0]
            >>> claim["n"], claim["low"] < claim["estimate"] < claim["high"]
            (3, True)
        """
        from attnae.bench.reporting import flat

        return [row for report in self.reports for row in flat.claims(report)]

    def frame(self, per_image: bool = False) -> pandas.DataFrame:
        """A tidy table; requires ``pip install "attnae[pandas]"``.

        Args:
            per_image: Whether to return one row per run, image and metric instead of one row per run.

        Returns:
            The columns of :meth:`rows`; or ``benchmark``, ``label``, ``variant``, ``seed``, ``image`` (index in the test
            set, from 0), ``metric`` (``"<protocol>/<name>"``) and ``value``, for the runs whose per-image metrics are kept:
            all below a folder of runs, and below a folder of reports those of claims that rest on one seed.

        Raises:
            attnae.bench.Error: pandas is not installed, or the per-image metrics of a run are damaged, or no run has any.

        Example:
            >>> frame = bench.results("reports/moe_ablation").frame()
            >>> frame.groupby("variant")["heldout/psnr_mean"].mean().idxmin()
            'dense_clamped'
        """
        try:
            import pandas
        except ImportError as error:
            raise UserError('frame() requires pandas. Install it with pip install "attnae[pandas]".') from error
        return self._per_image() if per_image else pandas.DataFrame(self.rows())

    def _per_image(self) -> pandas.DataFrame:
        import pandas

        from attnae.bench.reporting import images

        text, whole = pandas.Series(dtype=str), pandas.Series(dtype="int64")
        columns = {"benchmark": text, "label": text, "variant": text, "seed": whole, "image": whole, "metric": text,
                   "value": pandas.Series(dtype=float)}  # fmt: skip
        parts = [pandas.DataFrame(columns)]  # columns and their types, also without any image
        for report, folders in zip(self.reports, self._folders, strict=True):
            for one in report.results:
                for metric, values in images.kept(folders[one.variant, one.seed], one).items():
                    parts.append(pandas.DataFrame({"benchmark": report.benchmark.name, "label": report.label,
                                                   "variant": one.variant, "seed": one.seed, "image": range(len(values)),
                                                   "metric": metric, "value": values}))  # fmt: skip
        if len(parts) == 1 and any(report.done for report in self.reports):
            raise UserError(
                "These results have no per-image metrics: a report keeps only those of claims that rest on one seed. Load the "
                'folder of the runs, such as bench.results("runs").'
            )
        return pandas.concat(parts, ignore_index=True)

    def to_latex(self) -> str:
        r"""Tables of the leading metrics, one per report, for ``\usepackage{booktabs}``.

        Returns:
            Means and sample standard deviations over seeds. A mean is bold only if it is the best, and the 95% intervals of
            its differences to all other variants exclude 0.

        Example:
            >>> print(bench.results("reports/moe_ablation").to_latex().rstrip())
            \begin{table}
            ...
            \end{table}
        """
        from attnae.bench.reporting import latex

        return "\n".join(latex.table(report) for report in self.reports)
