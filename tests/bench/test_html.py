"""HTML reports in headless Chromium: they open from disk, sort, hide, toggle and compare."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from test_golden import BENCHMARK as GOLDEN
from test_golden import FAILED, ONE, RESULTS

from attnae.bench.catalog.benchmark import Curve
from attnae.bench.reporting.html import page
from attnae.bench.reporting.html.content import content
from attnae.bench.reporting.material import Folders, Report
from attnae.result import Result

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

BENCHMARK = replace(GOLDEN, curves=[Curve(key="val/mse", title="Validation MSE", digits=5)])
HOSTILE = '<script>document.title="owned"</script></script><b>"&amp;\'{{ 7*7 }}'
MOST_BYTES = 6_000_000


def strip(path: Path, shade: int) -> None:
    """Three images of 8x8 pixels, as saved by runs."""
    pixels = np.full((12, 32, 3), 255, np.uint8)
    for place in range(3):
        pixels[2:10, 2 + 10 * place : 10 + 10 * place] = shade + place
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def folders_of(results: list[Result], root: Path) -> Folders:
    """Run folders with images."""
    found = {}
    for place, one in enumerate(results):
        folder = found[one.variant, one.seed] = root / f"{one.variant}{one.seed}"
        for shade, name in ((10, "truth"), (20, "input"), (30 + 10 * place, "output")):
            strip(folder / "images" / f"heldout-{name}.png", shade)
    return found


def with_curves(results: list[Result]) -> list[Result]:
    key = BENCHMARK.curves[0].key
    return [replace(one, curves={"epoch": [1.0, 2.0], key: [0.5, 0.1 * one.seed]}) if one.status == "complete" else one
            for one in results]  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    programs = [shutil.which("chromium"), shutil.which("chromedriver")]
    if not all(programs):
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(programs[0])
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                     "--disable-background-networking", "--disable-component-update", "--disable-sync",
                     f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(programs[1])))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    results = with_curves(RESULTS)
    return page.text(Report(BENCHMARK, "paper", results), folders_of(results, tmp_path_factory.mktemp("runs")))


@pytest.fixture
def opened(browser: Chrome, text: str, tmp_path: Path) -> Chrome:
    return show(browser, text, tmp_path)


def show(browser: Chrome, text: str, folder: Path) -> Chrome:
    from selenium.webdriver.support.ui import WebDriverWait

    (folder / "report.html").write_text(text, encoding="utf-8")
    browser.get((folder / "report.html").as_uri())
    ready = "return !document.getElementById('table') || document.querySelector('#table th') !== null"
    WebDriverWait(browser, 30).until(lambda page: page.execute_script(ready))
    return browser


def cells(browser: Chrome, place: int) -> list[str]:
    return [row.find_elements("css selector", "th, td")[place].text
            for row in browser.find_elements("css selector", "#table tbody tr")]  # fmt: skip


def test_file_is_self_contained(text: str) -> None:
    assert len(text.encode()) < MOST_BYTES
    ours = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)=["'](?!data:)[^"']+""", ours)
    assert "@import" not in ours


def test_condition_and_claims_are_those_of_the_page() -> None:
    found = content(Report(BENCHMARK, "paper", RESULTS), {})
    assert found["condition"].startswith("Does an example help? 7 of 8 runs complete; seeds 1-3. Trained on 400")
    assert [len(one["cells"]) for one in found["claims"]] == [4] * 4
    own = replace(BENCHMARK, published=[], claims=[replace(BENCHMARK.claims[0], published=None)], file=Path("b.yaml"))
    found = content(Report(own, "paper", RESULTS, beside={"paper-2": "other"}), {})
    assert not found["reproduces"]
    assert len(found["claims"][0]["cells"]) == 3
    assert "Results in a separate report: paper-2, other." in found["condition"]


def test_opens_without_errors_and_shows_the_answer(opened: Chrome) -> None:
    assert "2.13 dB better than plain" in opened.find_element("class name", "answer").text
    assert opened.get_log("browser") == []
    assert len(opened.find_elements("css selector", ".plot .main-svg")) >= 2


def test_table_sorts_by_keyboard_and_hides_columns(opened: Chrome) -> None:
    from selenium.webdriver.common.keys import Keys

    def heads() -> list[str]:
        found = opened.find_elements("css selector", "#table thead th")
        return [str(head.get_attribute("textContent")) for head in found]  # .text depends on what is scrolled into view

    place = next(i for i, head in enumerate(heads()) if head.startswith("PSNR"))
    for key, factor, direction in ((Keys.ENTER, 1, "ascending"), (Keys.SPACE, -1, "descending")):
        button = opened.find_elements("css selector", "#table thead th")[place].find_element("tag name", "button")
        button.send_keys(key)
        values = [float(text.split(" ")[0]) for text in cells(opened, place)]
        assert values == sorted(values, key=lambda value: factor * value)
        assert len(set(values)) > 1
        assert opened.find_elements("css selector", "#table thead th")[place].get_attribute("aria-sort") == direction
    opened.find_element("css selector", "#columns").find_element("xpath", "..").find_element(
        "tag name", "summary"
    ).click()
    boxes = opened.find_elements("css selector", "#columns label")
    before = heads()
    next(box for box in boxes if box.text.startswith("PSNR")).find_element("tag name", "input").click()
    assert heads() == [*before[:place], *before[place + 1 :]]


def test_curves_toggle_seeds_and_variants(opened: Chrome) -> None:
    def lines() -> int:
        return int(opened.execute_script("return document.getElementById('curves').data.length"))  # type: ignore[no-untyped-call]

    assert lines() == sum(one.status == "complete" for one in RESULTS)
    opened.find_element("css selector", "#variants input").click()
    fewer = lines()
    opened.find_element("css selector", "#seeds input").click()
    assert 0 < lines() < fewer < len(RESULTS)


def test_images_of_two_variants_beside_truth_and_input(opened: Chrome) -> None:
    from selenium.webdriver.support.select import Select

    def source(name: str) -> str:
        return str(opened.find_element("id", name).get_attribute("src"))

    assert source("over") != source("under")
    assert [one.text for one in opened.find_elements("css selector", "#given figcaption")] == ["ground truth", "input"]
    before = source("over")
    Select(opened.find_element("id", "image")).select_by_visible_text("2")
    assert source("over") != before
    left, right = (Select(opened.find_element("id", side)) for side in ("left", "right"))
    right.select_by_visible_text(str(left.first_selected_option.text))
    assert source("over") == source("under")


@pytest.mark.parametrize("width", [400, 1200])
def test_page_is_not_wider_than_the_window(opened: Chrome, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    opened.refresh()
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width  # type: ignore[no-untyped-call]


def test_hostile_text_stays_text(browser: Chrome, tmp_path: Path) -> None:
    variants = {name: replace(one, title=HOSTILE + name) for name, one in BENCHMARK.variants.items()}
    claims = [replace(BENCHMARK.claims[0], claim=HOSTILE)]
    results = [*with_curves(RESULTS), replace(FAILED[0], status="failed", reason=HOSTILE)]
    benchmark = replace(BENCHMARK, title=HOSTILE, question=HOSTILE, variants=variants, claims=claims)
    opened = show(browser, page.text(Report(benchmark, "paper", results), folders_of(results, tmp_path)), tmp_path)
    assert opened.title == HOSTILE
    assert opened.find_element("tag name", "h1").text == HOSTILE
    assert HOSTILE in opened.find_element("id", "failed").find_element("xpath", "..").text
    assert not opened.find_elements("css selector", "main b")
    assert opened.get_log("browser") == []


def one_of_many(place: int) -> Result:
    return replace(
        RESULTS[0], variant=f"v{place}", metrics={key: value + place for key, value in RESULTS[0].metrics.items()}
    )


@pytest.mark.parametrize("results", [[], FAILED[:1], RESULTS[:1], ONE, [one_of_many(place) for place in range(200)]])
def test_any_number_of_runs(browser: Chrome, tmp_path: Path, results: list[Result]) -> None:
    text = page.text(Report(BENCHMARK, "paper", results), {})
    assert len(text.encode()) < MOST_BYTES
    opened = show(browser, text, tmp_path)
    complete = {one.variant for one in results if one.status == "complete"}
    assert len(cells(opened, 0)) == len(complete)
    assert opened.get_log("browser") == []


def test_committed_report_shows_its_figures(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    for name in ("grid.png", "curves.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / "figures" / name)
    made: dict[str, Any] = content(Report(BENCHMARK, "paper", RESULTS, tmp_path), {})
    assert [one["name"] for one in made["images"]["figures"]] == ["grid"]
    assert made["images"]["figures"][0]["source"].startswith("data:image/webp;base64,")
