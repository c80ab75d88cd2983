"""result.json: round trips, and rejection of invalid content."""

import json
import math
import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attnae import files
from attnae.errors import UserError
from attnae.paths import shown
from attnae.result import LARGEST, VERSION, Part, Result, now, read_part, read_result, write

FULL = Result(
    metrics={"heldout/mse": 0.25, "train_set/kl": 3.0},
    efficiency={"params_trainable": 8666755.0},
    curves={"epoch": [1.0, 2.0], "train/loss": [5.5, None]},
    data={"name": "photos", "train": 1024, "converted": {"grayscale": 3}},
    selection="last epoch",
    versions={"torch": "2.9"},
    hardware={"device": "cpu", "threads": 2},
    images=["images/grid.png"],
    benchmark="saaae_vs_vae",
    label="quick",
    profile="quick",
    variant="vae",
    seed=3,
    reason="",
    revision=2,
    overrides={"trainer.max_epochs": 3},
    configuration={"trainer": {"max_epochs": 3}},
    precision="bf16",
    devices=2,
    data_digest="01234567-89abcdef",
    finished_at="2026-01-31T12:00:00.000Z",
    last_epochs={"epoch": [1.0, 2.0], "heldout/mse": [0.5, None]},
    commands=["attnae fit -c a.yaml", "attnae test"],
    git={"commit": "abc", "dirty": False},
    wall_seconds=12.5,
)

once_per_test = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refused(path: Path, read: Any = read_result) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert shown(path) in message
    assert len(message.splitlines()) == 1
    return message


def changed(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps({**asdict(FULL), **changes}), encoding="utf-8")
    return path


# -- round trip -------------------------------------------------------------------------------------------------


def test_result_round_trip(tmp_path: Path) -> None:
    write(FULL, tmp_path / "new" / "folder" / "result.json")
    assert read_result(tmp_path / "new" / "folder" / "result.json") == FULL


def test_part_round_trip(tmp_path: Path) -> None:
    part = Part(**{f.name: getattr(FULL, f.name) for f in fields(Part)})
    write(part, tmp_path / "fit.json")
    assert read_part(tmp_path / "fit.json") == part


def test_empty_result_round_trip(tmp_path: Path) -> None:
    write(Result(), tmp_path / "result.json")
    assert read_result(tmp_path / "result.json") == Result()


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    write(FULL, tmp_path / "a.json")
    write(read_result(tmp_path / "a.json"), tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


numbers = st.floats(-LARGEST, LARGEST)


@given(
    metrics=st.dictionaries(st.text(), numbers),
    curves=st.dictionaries(st.text(), st.lists(numbers | st.none())),
    reason=st.text(),
    commands=st.lists(st.text()),
    seed=st.integers(0, 2**32 - 1),
)
@once_per_test
def test_any_result_round_trip(tmp_path: Path, **values: Any) -> None:
    write(Result(**values), tmp_path / "result.json")
    assert read_result(tmp_path / "result.json") == Result(**values)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_numbers_are_missing(tmp_path: Path, value: float) -> None:
    path = tmp_path / "result.json"
    curves: dict[str, list[float | None]] = {"epoch": [1, 2], "train/loss": [value, 2.0]}
    write(Result(metrics={"a/b": value, "a/c": 1.0}, efficiency={"d": value}, curves=curves, data={"e": [value]}), path)
    assert not any(word in path.read_text() for word in ("NaN", "Infinity"))  # JSON has no such numbers
    back = read_result(path)
    assert back.metrics == {"a/c": 1.0}
    assert back.efficiency == {}
    assert back.curves["train/loss"] == [None, 2.0]
    assert back.data == {"e": [None]}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_numbers_in_other_files(tmp_path: Path, value: float) -> None:
    assert read_result(changed(tmp_path / "a.json", metrics={"a/b": value, "a/c": 1.0})).metrics == {"a/c": 1.0}
    assert "curve" in refused(changed(tmp_path / "b.json", curves={"epoch": [1, value]}))


def test_whole_numbers_become_floats(tmp_path: Path) -> None:
    back = read_result(changed(tmp_path / "result.json", metrics={"a/b": 3}))
    assert isinstance(back.metrics["a/b"], float)


def test_a_name_in_any_script_stays_readable(tmp_path: Path) -> None:
    write(Result(label="prüfung-画像"), tmp_path / "result.json")
    assert "prüfung-画像" in (tmp_path / "result.json").read_text(encoding="utf-8")


# -- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_file_that_was_cut_short(tmp_path: Path, share: float) -> None:
    write(FULL, tmp_path / "result.json")
    text = (tmp_path / "result.json").read_text()
    (tmp_path / "result.json").write_text(text[: int(len(text) * share)])
    assert "Delete it to repeat the run" in refused(tmp_path / "result.json")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    refused(tmp_path / "result.json")
    (tmp_path / "result.json").mkdir()
    refused(tmp_path / "result.json")


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"[1, 2]", b"null", b'"text"', b"3", b"{}{}", b"not json\nat all"]
)
def test_other_content(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "result.json").write_bytes(content)
    refused(tmp_path / "result.json")


@pytest.mark.parametrize(
    ("version", "advice"), [(0, "Delete"), (1, "python -m attnae.bench.migrate"), (3, "Update attnae"), (-1, "Delete")]
)
def test_another_format_is_refused_by_name(tmp_path: Path, version: int, advice: str) -> None:
    message = refused(changed(tmp_path / "result.json", version=version, new_key=1))
    assert f"format {version}" in message
    assert f"format {VERSION}" in message
    assert advice in message


@pytest.mark.parametrize("time", ["yesterday", "2026-01-31", "2026-01-31T12:00:00Z", "9", "2026-01-31T12:00:00.000Z "])
def test_a_time_of_another_form(tmp_path: Path, time: str) -> None:
    assert "finished_at" in refused(changed(tmp_path / "result.json", finished_at=time))


def test_times_are_ordered_as_their_texts(tmp_path: Path) -> None:
    first, second = now(), now()
    assert first <= second
    assert read_result(changed(tmp_path / "result.json", finished_at=second)).finished_at == second


def test_an_unknown_key(tmp_path: Path) -> None:
    assert "unknown key 'surprise'" in refused(changed(tmp_path / "result.json", surprise=1))


def test_a_part_has_no_keys_of_a_result(tmp_path: Path) -> None:
    refused(changed(tmp_path / "fit.json"), read_part)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"wall_seconds": math.nan}, "wall_seconds is not a finite number"),
        ({"reason": "half a pair: \ud800"}, "surrogates not allowed"),
        ({"metrics": {"heldout/psnr_mean": 1e308}}, "is above 1e+100"),
    ],
)
def test_what_no_report_can_hold_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    write(Result(benchmark="b", variant="v"), tmp_path / "result.json")
    raw = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    (tmp_path / "result.json").write_text(json.dumps(raw | change), encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(words)):
        read_result(tmp_path / "result.json")


def test_an_unknown_status(tmp_path: Path) -> None:
    assert "'running'" in refused(changed(tmp_path / "result.json", status="running"))


def misfits() -> list[Any]:
    """Every key with values of every other JSON type; booleans are not numbers."""
    values = {
        "null": None,
        "boolean": True,
        "list": [[]],
        "mapping": {"a": "b"},
        "text": "1",
        "number": 1.5,
        "whole": 3,
    }
    fits = {
        str: {"text"},
        float: {"number", "whole"},
        int: {"whole"},
        list: {"list"},
        dict: {"mapping"},
        bool: {"boolean"},
    }
    defaults = asdict(Result())
    return [
        pytest.param(name, value, id=f"{name}-{kind}")
        for name, default in defaults.items()
        for kind, value in values.items()
        if kind not in fits[type(default)]
    ]


@pytest.mark.parametrize(("name", "value"), misfits())
def test_a_value_of_another_type(tmp_path: Path, name: str, value: Any) -> None:
    assert name in refused(changed(tmp_path / "result.json", **{name: value}))


@pytest.mark.parametrize("name", ["metrics", "efficiency"])
@pytest.mark.parametrize("value", ["3,5", [1.0], {"a": 1}, 10**400], ids=["text", "list", "mapping", "huge"])
def test_invalid_numbers(tmp_path: Path, name: str, value: Any) -> None:
    refused(changed(tmp_path / "result.json", **{name: {"a/b": value}}))


@pytest.mark.parametrize(
    "curves",
    [{"epoch": 3}, {"epoch": None}, {"epoch": ["a"]}, {"epoch": {"1": 2}}, {"epoch": [[1]]}],
    ids=["number", "null", "text", "mapping", "nested"],
)
def test_invalid_curves(tmp_path: Path, curves: Any) -> None:
    refused(changed(tmp_path / "result.json", curves=curves))


@pytest.mark.parametrize("name", ["images", "commands"])
def test_invalid_lists_of_text(tmp_path: Path, name: str) -> None:
    refused(changed(tmp_path / "result.json", **{name: [3, None]}))


def test_endless_brackets(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"data": ' + "[" * 200_000)
    refused(tmp_path / "result.json")


def test_a_value_that_is_nested_without_end(tmp_path: Path) -> None:
    deep: Any = {}
    for _ in range(60):
        deep = {"a": deep}
    assert "nested" in refused(changed(tmp_path / "result.json", configuration=deep))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
records = st.fixed_dictionaries({}, optional={f.name: values | st.just(getattr(FULL, f.name)) for f in fields(Result)})


def result_or_one_line(path: Path, read: Any = read_result) -> Any:
    message = ""
    try:
        return read(path)
    except UserError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
    return None


@given(content=records | values)
@settings(parent=once_per_test, max_examples=200)
def test_random_json_is_a_result_or_one_line(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    for read in (read_result, read_part):
        back = result_or_one_line(path, read)
        assert back is None or all(isinstance(number, float) for number in back.metrics.values())


@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@once_per_test
def test_random_bytes_are_a_result_or_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "result.json").write_bytes(content)
    result_or_one_line(tmp_path / "result.json")


# -- written in one step ----------------------------------------------------------------------------------------


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("bug")])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "result.json"
    write(FULL, path)
    before = path.read_bytes()

    def half(self: Path, text: str, **options: Any) -> None:
        with self.open("w") as stream:
            stream.write(text[: len(text) // 2])
        raise error

    monkeypatch.setattr(Path, "write_text", half)
    expected = UserError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        write(Result(), path)
    monkeypatch.undo()
    if expected is UserError:
        assert f"Cannot write {shown(path)}: No space left on device" in str(caught.value)
    assert path.read_bytes() == before
    assert only(tmp_path) == ["result.json"]


def test_unserializable_values_leave_the_old_file(tmp_path: Path) -> None:
    write(FULL, tmp_path / "result.json")
    with pytest.raises(TypeError):
        write(Result(data={"path": tmp_path}), tmp_path / "result.json")
    assert read_result(tmp_path / "result.json") == FULL
    assert only(tmp_path) == ["result.json"]


def test_an_invalid_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        write(FULL, tmp_path / "file" / "result.json")


def test_readers_see_the_old_file_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "page.txt"
    files.write_text(path, "old")
    with path.open() as reader:
        with files.atomic(path) as temporary:
            temporary.write_text("new")
            assert path.read_text() == "old"
            assert temporary.parent == tmp_path  # a move between disks would not be one step
            assert temporary.name.startswith(".")  # and nothing that lists the folder takes it for a file of its own
        assert path.read_text() == "new"
        assert reader.read() == "old"  # replaced, not overwritten: a cache that is mapped into memory stays what it was
    assert only(tmp_path) == ["page.txt"]
