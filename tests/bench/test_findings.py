"""Numbers in FINDINGS and the effects figure are computed from results."""

import math
import re
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from test_golden import BENCHMARK, REPORTS, RESULTS, run

from attnae.bench.catalog import load
from attnae.bench.catalog.benchmark import Claim
from attnae.bench.reporting import effects, findings, report
from attnae.bench.reporting.material import Report
from attnae.errors import UserError
from attnae.result import write

PLACE = "example/paper/README.md"

MEANING = {
    "better heldout/psnr_mean": "22.23 ± 0.21",  # of 22.0, 22.3, 22.4 by hand: 22.2333, sqrt(0.13 / 3) = 0.2082
    "single heldout/psnr_mean": "20.05",
    # differences 2.0, 2.1, 2.3: mean 2.1333, sample std 0.15275, 4.3027 / sqrt(3) of which is 0.3795
    "better - plain heldout/psnr_mean": "+2.13 (+1.75 to +2.51)",
    "single - plain heldout/psnr_mean": "+0.05",
    "better / plain heldout/psnr_mean": "1.11x",
    "plain published heldout/psnr_mean": "20.00",
    "absent heldout/psnr_mean": "-",
    "better heldout/unknown": "-",
    "better": "-",
}


@pytest.mark.parametrize("title", MEANING)
def test_number_is_computed_from_its_title(title: str) -> None:
    text = f'It gains [old]({PLACE} "{title}") dB, see [the report]({PLACE}).'
    new = findings.refresh(text, REPORTS, [BENCHMARK])
    assert new == f'It gains [{MEANING[title]}]({PLACE} "{title}") dB, see [the report]({PLACE}).'
    assert findings.refresh(new, REPORTS, [BENCHMARK]) == new


def test_missing_report_has_no_number() -> None:
    link = '[1](other/paper/README.md "better heldout/psnr_mean")'
    assert findings.refresh(link, REPORTS, [BENCHMARK]) == link.replace("[1]", "[-]")


def test_hand_edited_number_is_detected(tmp_path: Path) -> None:
    benchmark = load("moe_ablation")
    one = run("moe", 1, 22.0, benchmark=benchmark.name)
    page = tmp_path / "reports" / findings.NAME
    page.parent.mkdir()
    page.write_text('[99](moe_ablation/paper/README.md "moe heldout/psnr_mean")', encoding="utf-8")
    folder = tmp_path / "run"
    write(one, folder / "result.json")
    report.build([(folder, one)], page.parent)
    assert page.read_text(encoding="utf-8").startswith("[22.00](")
    assert report.check(page.parent) == []
    page.write_text(page.read_text(encoding="utf-8").replace("22.00", "23.00"), encoding="utf-8")
    (said,) = report.check(page.parent)
    assert findings.NAME in said


def test_table_of_claims_is_generated() -> None:
    text = "before\n<!-- claims example:1,2 -->\nanything\n<!-- /claims -->\nafter"
    new = findings.refresh(text, REPORTS, [BENCHMARK])
    assert findings.refresh(new, REPORTS, [BENCHMARK]) == new
    header, _, first, second = new.replace("\N{NO-BREAK SPACE}", " ").splitlines()[2:6]
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        "claim", "published", "ours", "n", "size kept", "verdict", "would change it"
    ]  # fmt: skip
    assert [cell.strip() for cell in first.strip("|").split("|")] == [
        f"[The model is better]({PLACE})", "+2.50 dB", "+2.13 [+1.75, +2.51] dB", "3", "85% [70, 101]", "**holds**",
        "other seeds only",
    ]  # fmt: skip
    assert "**one seed**" in second


def test_the_interval_of_a_primary_claim_is_the_same_everywhere() -> None:
    primary = [replace(one, primary=place in (0, 2)) for place, one in enumerate(BENCHMARK.claims)]
    benchmark = replace(BENCHMARK, claims=primary)
    reports = [Report(benchmark, "paper", REPORTS[0].results)]
    text = f'<!-- claims example:1 -->\n<!-- /claims -->\n[x]({PLACE} "better - plain heldout/psnr_mean")'
    new = findings.refresh(text, reports, [benchmark]).replace("\N{NO-BREAK SPACE}", " ")
    # 97.5% of Student's t with 2 degrees of freedom: 6.2053 x 0.15275 / sqrt(3) = 0.5472
    assert "+2.13 [+1.59, +2.68] dB" in new
    assert "[+2.13 (+1.59 to +2.68)]" in new


def test_differences_of_errors_are_in_percent_of_the_right_side() -> None:
    claim = Claim("Its error is lower", "t", "better", "heldout/mse", "lower", "plain", 0.0, [0.0056, 0.01])
    benchmark = replace(BENCHMARK, claims=[claim])
    new = findings.refresh(
        "<!-- claims example:1 -->\n<!-- /claims -->", [Report(benchmark, "paper", RESULTS)], [benchmark]
    )
    cells = [cell.strip() for cell in new.replace("\N{NO-BREAK SPACE}", " ").splitlines()[3].strip("|").split("|")]
    plain, better = ([10 ** (-psnr / 10) for psnr in values] for values in ((20.0, 20.2, 20.1), (22.0, 22.3, 22.4)))
    differences = [b - a for a, b in zip(plain, better, strict=True)]
    base, half = statistics.mean(plain), 4.30265 * statistics.stdev(differences) / math.sqrt(3)
    mean, low, high = (
        100 * value / base
        for value in (
            statistics.mean(differences),
            statistics.mean(differences) - half,
            statistics.mean(differences) + half,
        )
    )
    assert cells[1:3] == ["-44.0%", f"{mean:+.1f}% [{low:+.1f}, {high:+.1f}]"]
    (effect,) = effects.effects([benchmark], [Report(benchmark, "paper", RESULTS)])["Example"]
    assert effect.published == pytest.approx(-44.0)
    assert effect.mean == pytest.approx(mean)
    assert effect.percent


@pytest.mark.parametrize("wanted", ["example:9", "nothing:1", "example:0", "example:1,1,1,1,1,1,1,1,1,1"])
def test_a_table_of_other_claims_is_refused(wanted: str) -> None:
    with pytest.raises(UserError, match=findings.NAME):
        findings.refresh(f"<!-- claims {wanted} -->\n\n<!-- /claims -->", REPORTS, [BENCHMARK])


def test_effects_are_multiples_of_what_is_published(tmp_path: Path) -> None:
    (one,) = effects.effects([BENCHMARK], REPORTS)["Example"]  # equalities and claims without two figures have no size
    assert one.published == pytest.approx(2.5)
    assert one.mean == pytest.approx(32 / 15)
    effects.draw([BENCHMARK], REPORTS, tmp_path / "effects.png")
    assert Image.open(tmp_path / "effects.png").width > 500
    effects.draw([BENCHMARK], [], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_committed_findings_can_be_read_in_two_minutes() -> None:
    """At most 600 words with the table, 100 for each paper; every verdict of the table is one that judges give."""
    text = (Path(__file__).parents[2] / "reports" / findings.NAME).read_text(encoding="utf-8")
    shown = re.sub(r"<!--.*?-->", "", re.sub(r"\]\([^)]*?(?: \"[^\"]*\")?\)", "]", text))
    count = {part.split("\n")[0]: len(re.findall(r"[^\s|]*\w[^\s|]*", part)) for part in shown.split("\n## ")}
    assert sum(count.values()) <= 600, count
    assert all(words <= 100 for title, words in count.items() if title != "# Findings"), count
    assert text.count("**holds**") + text.count("**undecided**") + text.count("**one seed**") <= findings.MOST_CLAIMS
