"""Which results share a table, and that reports and merges never lose a result."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from attnae import result
from attnae.bench import sharing
from attnae.bench.app import main
from attnae.bench.identity import RunId
from attnae.errors import UserError
from attnae.result import Result

DATA = {"kind": "folder", "title": "pets", "name": "pets", "train": 20, "test": 16, "size": 32}


def one(variant: str = "noisy", seed: int = 1, psnr: float = 20.0, minute: int = 0, **changes: Any) -> Result:
    """A complete run that finished at the given minute."""
    base = Result(
        benchmark="moe_denoising",
        label="short-pets",
        profile="short",
        variant=variant,
        seed=seed,
        configuration={"model": {"class_path": variant}, "trainer": {"max_epochs": 3}},
        data_digest="aaaaaaaa-bbbbbbbb",
        data={**DATA, "digest": "aaaaaaaa-bbbbbbbb"},
        metrics={"heldout/psnr_mean": psnr, "heldout/images": 16.0},
        versions={"attnae": "0.1.0"},
        finished_at=f"2026-01-31T12:{minute:02}:00.000Z",
    )
    return replace(base, **changes)


OTHER: dict[str, Any] = {"data_digest": "cccccccc-dddddddd", "data": {**DATA, "digest": "cccccccc-dddddddd"}}


def store(folder: Path, *results: Result) -> Path:
    """Writes results as runs do."""
    for record in results:
        place = folder / record.benchmark / record.label / record.variant / RunId.of(record).folder
        result.write(record, place / "result.json")
    return folder


def kept(reports: Path) -> dict[str, Result]:
    """Results stored in reports, by report and file."""
    return {
        path.relative_to(reports / "moe_denoising").as_posix(): result.read_result(path)
        for path in reports.rglob("*.json")
    }


def report(*arguments: Path | str) -> int:
    return main(["report", *map(str, arguments)])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- rule ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"benchmark": "moe_ablation"}, "different benchmarks: moe_denoising and moe_ablation"),
        ({"revision": 2}, "different revision: 1 and 2"),
        ({"profile": "paper"}, "different profile: short and paper"),
        ({"precision": "bf16"}, "different precision: fp32 and bf16"),
        ({"devices": 2}, "different devices: 1 and 2"),
        ({"overrides": {"model.init_args.lr": 0.1}}, "different settings: model.init_args.lr not set and 0.1"),
        (OTHER, "different images: digests aaaaaaaa-bbbbbbbb and cccccccc-dddddddd"),
        ({"configuration": {"model": {"class_path": "tv"}, "trainer": {"max_epochs": 3}}},
         "different configurations of noisy: model.class_path noisy and tv"),
        ({"reconstructed": True}, "one result was migrated"),
    ],
)  # fmt: skip
def test_differing_results_are_separate(changes: Mapping[str, Any], reason: str) -> None:
    assert sharing.apart(one(), one(**changes)).startswith(reason)
    assert sharing.apart(one(**changes), one())


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"versions": {"attnae": "9.0"}},
        {"hardware": {"device": "GPU"}},
        {"finished_at": ""},
        {"status": "failed", "reason": "x"},
        {"label": "mine"},
        {"variant": "tv", "configuration": {"model": {"class_path": "tv"}}},
    ],
)
def test_allowed_differences(changes: Mapping[str, Any]) -> None:
    assert sharing.apart(one(), one(**changes)) == ""


identities = st.builds(
    one,
    variant=st.sampled_from(["noisy", "tv"]),
    seed=st.integers(1, 2),
    minute=st.integers(0, 5),
    psnr=st.sampled_from([20.0, 21.0]),
    precision=st.sampled_from(["fp32", "bf16"]),
    configuration=st.sampled_from([{"a": 1}, {"a": 2}]),
    data_digest=st.sampled_from(["", "aa-bb"]),
)


@given(results=st.lists(identities, max_size=8))
def test_all_results_are_assigned_to_tables(results: list[Result]) -> None:
    found = [(Path(str(number)), record) for number, record in enumerate(results)]
    tables = sharing.tables(found)
    inside = [record for table in tables for record in (*table.records, *table.superseded)]
    text = lambda record: json.dumps(asdict(record), sort_keys=True)  # noqa: E731
    assert {text(r) for _, r in inside} == {text(r) for r in results}
    assert len({table.label for table in tables}) == len(tables)
    for table in tables:
        assert not any(sharing.apart(a, b) for _, a in table.records for _, b in table.records)
        names = [(r.variant, r.seed) for _, r in table.records]
        assert len(set(names)) == len(names)
        for _, old in table.superseded:
            (new,) = [r for _, r in table.records if (r.variant, r.seed) == (old.variant, old.seed)]
            assert new.finished_at >= old.finished_at
        assert all(table.beside.values())
    shown = lambda tables: [(table.label, [r for _, r in table.records]) for table in tables]  # noqa: E731
    assert shown(sharing.tables(found[::-1])) == shown(tables)


# -- reports -------------------------------------------------------------------------------------------------------


def test_different_images_have_separate_reports(here: Path) -> None:
    store(here / "runs", one("noisy"), one("wavelet", minute=1, **OTHER), one("noisy", minute=2, psnr=19.0, **OTHER))
    assert report() == 0
    first = here / "reports/moe_denoising/short-pets"
    (second,) = here.glob("reports/moe_denoising/short-pets-*")
    assert sorted(path.name for path in (first / "runs").iterdir()) == ["noisy-seed1.json"]
    assert sorted(path.name for path in (second / "runs").iterdir()) == ["noisy-seed1.json", "wavelet-seed1.json"]
    for page, other in ((first, second), (second, first)):
        text = (page / "README.md").read_text(encoding="utf-8")
        assert f"[{other.name}](../{other.name}/README.md), different images" in text
    assert report("--check") == 0
    assert report("--check", "runs") == report("--check", str(first)) == 2  # no reports are below them


def test_controls_stay_beside_a_changed_network(here: Path) -> None:
    """After an edit of one's own network only its variants are trained again; the kept control is in both reports."""
    changed = one("noisy", minute=2, psnr=19.0, configuration={"code": "2"})
    store(here / "runs", one("noisy"), one("tv", minute=1), one("tv", seed=2, minute=1), changed)
    store(here / "runs", one("wavelet", **OTHER))
    assert report() == 0
    tables = {frozenset(kept_by(folder)) for folder in here.glob("reports/moe_denoising/short-pets*")}
    controls = {"tv-seed1.json", "tv-seed2.json"}
    assert tables == {frozenset({"noisy-seed1.json", *controls}), frozenset({"wavelet-seed1.json"})}
    assert len(list(here.glob("reports/moe_denoising/short-pets*"))) == 3
    before = kept(here / "reports")
    assert report() == 0  # of what both reports hold, each keeps its copy
    assert kept(here / "reports") == before
    shutil.rmtree(here / "runs")
    assert report(here / "reports") == 0
    assert kept(here / "reports") == before
    assert report("--check") == 0


def kept_by(folder: Path) -> list[str]:
    return [path.name for path in (folder / "runs").glob("*.json")]


def test_two_configurations_of_a_variant_are_not_two_seeds(here: Path) -> None:
    store(here / "runs", one(seed=1, psnr=100.0), one(seed=2, psnr=300.0, minute=1, configuration={"a": 1}))
    assert report() == 0
    pages = [path.read_text(encoding="utf-8") for path in here.glob("reports/moe_denoising/*/README.md")]
    assert len(pages) == 2
    assert all("±" not in page.split("## How these numbers")[0].replace("mean ± sample", "") for page in pages)


def test_latest_result_by_finished_at_not_file_time(here: Path) -> None:
    old, new = one(psnr=20.0, minute=1), one(psnr=21.0, minute=2)
    result.write(new, here / "runs/a/result.json")
    result.write(old, here / "runs/b/result.json")
    os.utime(here / "runs/a/result.json", (1, 1))
    assert report() == 0
    assert kept(here / "reports")["short-pets/runs/noisy-seed1.json"] == new


def test_only_copy_of_a_result_is_never_deleted(here: Path) -> None:
    store(here / "runs", one("noisy"), one("tv"))
    assert report() == 0
    before = kept(here / "reports")
    shutil.rmtree(here / "runs")
    store(here / "runs", one("noisy", minute=5, **OTHER))  # different images
    assert report() == 0
    after = kept(here / "reports")
    assert {name: after[name] for name in before} == before
    assert len(after) == 3
    store(here / "runs", one("noisy", minute=6, psnr=1.0))  # the same run again
    assert report() == 0
    assert one("noisy") in kept(here / "reports").values()
    assert kept(here / "reports")["short-pets/runs/noisy-seed1.json"].metrics["heldout/psnr_mean"] == 1.0
    assert report("--check") == 0


def test_retest_does_not_move_report(here: Path) -> None:
    store(here / "runs", one("noisy"), one("noisy", minute=1, **OTHER))
    assert report() == 0
    pages = {path: path.read_bytes() for path in here.glob("reports/moe_denoising/*/runs/*.json")}
    tested = {"tested": {"first_finished_at": one("noisy").finished_at}}
    store(here / "runs", one("noisy", minute=30, git=tested))
    assert report() == 0
    assert set(here.glob("reports/moe_denoising/*/runs/*.json")) == pages.keys()
    assert report("--check") == 0


def test_results_of_earlier_versions_are_kept_and_marked(here: Path) -> None:
    store(here / "runs", one("noisy"), one("tv", minute=1, versions={"attnae": "0.2.0"}))
    assert report() == 0
    text = (here / "reports/moe_denoising/short-pets/README.md").read_text(encoding="utf-8")
    assert "These runs used several versions of attnae. 0.1.0: noisy (seed 1); 0.2.0: tv (seed 1)." in text


def test_newer_format_is_left_out_and_kept(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(here / "runs", one("noisy"))
    newer = here / "runs/x/result.json"
    newer.parent.mkdir()
    newer.write_text(json.dumps({"version": 3, "unheard_of": 1}))
    assert report() == 0
    assert "Left out: " in (said := capsys.readouterr().err)
    assert "format 3" in said
    assert len(said.splitlines()) == 1
    assert newer.exists()


def test_unknown_benchmark_is_left_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(here / "runs", one("noisy"), one(benchmark="nobodys"))
    assert report() == 0
    assert "there is no benchmark 'nobodys'" in capsys.readouterr().err
    assert kept(here / "reports").keys() == {"short-pets/runs/noisy-seed1.json"}


def test_no_readable_results_is_a_one_line_error(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "runs/x").mkdir(parents=True)
    (here / "runs/x/result.json").write_text("{")
    for arguments in ([], ["runs"]):
        assert report(*arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "No readable results below runs: Cannot read" in line


# -- merge ---------------------------------------------------------------------------------------------------------


def merge(*arguments: Path | str) -> int:
    return main(["merge", *map(str, arguments)])


def test_merge_shares_tables_of_compatible_results(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(here / "a", one("noisy"))
    store(here / "b", one("noisy", minute=1, **OTHER), one("tv", minute=1), one("wavelet", minute=2, **OTHER))
    before = {path: path.read_bytes() for side in "ab" for path in (here / side).rglob("*") if path.is_file()}
    assert merge("a", "b", "-o", "c") == 0
    assert "different images" in capsys.readouterr().out
    assert report("c") == 0
    tables = {path.parent.parent.name: set() for path in (here / "reports").rglob("runs/*.json")}  # type: ignore[var-annotated]
    for path in (here / "reports").rglob("runs/*.json"):
        tables[path.parent.parent.name].add(path.stem)
    assert tables.pop("short-pets") == {"noisy-seed1", "tv-seed1"}
    assert list(tables.values()) == [{"noisy-seed1", "wavelet-seed1"}]
    assert before == {path: path.read_bytes() for path in before}
    assert merge("a", "b", "-o", "c") == 0
    assert "Copied 0 results" in capsys.readouterr().out


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_merge_keeps_both_results_of_a_run_and_later_one_counts(
    order: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = one(psnr=20.0), one(psnr=21.0, minute=1)
    store(here / "a", old)
    store(here / "b", new)
    assert merge(*order, "-o", "c") == 0
    expected = {
        "ab": "; it replaces an earlier or failed result of the same run, which was moved to c/",
        "ba": "; a later or complete result of the same run takes precedence",
    }
    said = [line for line in capsys.readouterr().out.splitlines() if "result of the same run" in line]
    assert len(said) == 1
    assert expected[order] in said[0]
    assert sorted(r.metrics["heldout/psnr_mean"] for r in map(result.read_result, (here / "c").rglob("*.json"))) == [
        20.0,
        21.0,
    ]
    (counts,) = (here / "c").rglob(f"{RunId.of(new).folder}/result.json")
    assert result.read_result(counts) == new
    assert merge(*order, "-o", "c") == 0
    assert "Copied 0 results" in capsys.readouterr().out


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_later_failure_hides_no_complete_result(order: str, here: Path) -> None:
    store(here / "a", one())
    store(here / "b", one(minute=1, status="failed", reason="a full disk", metrics={}))
    assert merge(*order, "-o", "c") == 0
    (counts,) = (here / "c").rglob(f"{RunId.of(one()).folder}/result.json")
    assert result.read_result(counts) == one()
    assert len(list((here / "c").rglob("result.json"))) == 2
    assert report("c") == 0
    assert kept(here / "reports") == {"short-pets/runs/noisy-seed1.json": one()}


def test_merge_reads_results_from_reports(here: Path) -> None:
    store(here / "runs", one("noisy"), one("tv"))
    assert report() == 0
    assert merge("reports", "-o", "c") == 0
    assert len(list((here / "c").rglob("result.json"))) == 2


@pytest.mark.parametrize("damage", ["", "a byte", "cut", "no weights"])
def test_weights_are_verified(damage: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from attnae.training import weights as trained

    torch = pytest.importorskip("torch")
    store(here / "a", one())
    (run,) = (path.parent for path in (here / "a").rglob("result.json"))
    file = run / "weights.safetensors"
    trained.save({"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3, dtype=torch.int64)}, file)
    content = file.read_bytes()
    if damage == "a byte":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "no weights":
        file.write_bytes(b"\xff" * 20)
    assert merge("a", "-o", "c") == int(bool(damage))
    out = capsys.readouterr().out
    assert ("Left out" in out) == bool(damage)
    copies = list((here / "c").rglob("weights.safetensors"))
    assert [path.read_bytes() for path in copies] == ([] if damage else [content])


def test_weights_without_digest_are_accepted(here: Path) -> None:
    store(here / "a", one())
    (run,) = (path.parent for path in (here / "a").rglob("result.json"))
    save_file({"a": np.zeros(3, np.float32)}, run / "weights.safetensors")
    assert merge("a", "-o", "c") == 0


def test_links_out_of_the_source_folder_are_not_followed(here: Path) -> None:
    (here / "secret").write_text("secret")
    store(here / "a", one(images=["images/x.png", "../../../../../secret"]))
    (run,) = (path.parent for path in (here / "a").rglob("result.json"))
    (run / "log.txt").symlink_to(here / "secret")
    (run / "images").mkdir()
    (run / "images/x.png").symlink_to(here / "secret")
    (run / "metrics.csv").write_text("epoch")
    assert merge("a", "-o", "c") == 0
    copied = {path.name for path in (here / "c").rglob("*") if path.is_file()} - {".lock"}
    assert copied == {"metrics.csv", "result.json"}


@pytest.mark.parametrize("name", ["{here}/secret", "a\0b", "x" * 300, "images/../../secret"])
def test_pictures_elsewhere_are_left_alone(name: str, here: Path) -> None:
    """Names that another person has written into a result."""
    secret = here / "secret"
    secret.write_text("secret")
    secret.chmod(0o700)
    store(here / "a", one(images=[name.format(here=here)]))
    assert merge("a", "-o", "c") == 0
    assert secret.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in (here / "c").rglob("*") if path.is_file() and path.name != ".lock"] == ["result.json"]


def test_a_run_that_is_being_trained_is_left_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(here / "a", one())
    (run,) = (path.parent for path in (here / "a").rglob("result.json"))
    target = here / "c" / run.relative_to(here / "a")
    target.mkdir(parents=True)
    with FileLock(target / ".lock"):
        assert merge("a", "-o", "c") == 1
    assert "noisy/seed1: this run is being trained in c" in " ".join(capsys.readouterr().out.split())
    assert not (target / "result.json").exists()
    assert merge("a", "-o", "c") == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"benchmark": "nobodys"}, "unknown benchmark 'nobodys'"),
        ({"variant": "nobodys"}, "unknown variant 'nobodys'"),
        ({"label": ""}, "variant or label is missing"),
    ],
)
def test_merge_leaves_out_unknown_benchmark_variant_and_label(
    changes: Mapping[str, Any], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result.write(one(**changes), here / "a/x/result.json")
    assert merge("a", "-o", "c") == 1
    assert said in capsys.readouterr().out
    assert not list((here / "c").rglob("result.json"))


def test_merge_reports_damaged_results_in_one_line_each(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["{", json.dumps({"version": 3}), json.dumps({**asdict(one()), "seed": "1"}), json.dumps({"version": 1})]
    for number, text in enumerate(texts):
        (here / f"a/{number}").mkdir(parents=True)
        (here / f"a/{number}/result.json").write_text(text)
    assert merge("a", "-o", "c") == 1
    out = capsys.readouterr().out
    assert out.count("Left out: ") == len(texts)
    assert "format 3" in out
    assert "seed is not a int" in out
    assert "attnae.bench.migrate" in out
    assert main(["merge", "nowhere", "-o", "c"]) == 2


@pytest.mark.parametrize("fails", [False, True])
def test_a_result_that_moves_to_another_label_is_never_without_a_copy(
    fails: bool, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only copy is in the reports, and an earlier result of other images takes its label."""
    only = one(minute=30)
    store(here / "mine", only)
    assert report("mine") == 0
    shutil.rmtree(here / "mine")
    earlier = one(minute=10, psnr=21.0, **OTHER)
    store(here / "theirs", earlier)
    write = result.write

    def full(record: Result, path: Path) -> None:
        if fails and record == only:
            raise UserError("no space left")
        write(record, path)

    with monkeypatch.context() as patch:
        patch.setattr(result, "write", full)
        assert report("theirs") == 2 * fails
    found = [*kept(here / "reports").values()]
    assert only in found
    assert earlier in found
    assert len(found) == 2
    assert bool([*(here / "reports").rglob("superseded")]) == fails
