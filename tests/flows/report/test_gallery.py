"""Test images on the page: by name, whatever the name; sorted, filtered and enlarged without a script; within the bounds."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fabloom.errors import DataError
from fabloom.flows.report.compare import Side, changed_images, document, verdict, write_comparison
from fabloom.flows.report.draw.cases import grey_range, stretched, trimmed, view
from fabloom.flows.report.draw.charts import intervals
from fabloom.flows.report.draw.encoding import data_uris
from fabloom.flows.report.draw.lines import lines
from fabloom.flows.report.page import write_page
from fabloom.flows.report.templating import css, rendered
from fabloom.kinds import Chart, Gallery, ImageSet, Metric, Report
from fabloom.kinds.gallery import reduced
from fabloom.method import Context, Method, Options, task
from fabloom.params import Params
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.registry import Origin, Registry
from fabloom.running.engine import Engine, run_inline
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import write_artifact

HOSTILE = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "a' onmouseover='x.png", "../../etc/passwd", "&lt;b&gt; & {{ 7*7 }}",
    "\u202egnp.exe", "]]></style><b>", "very/" * 60 + "long name without end.png", "Ünïcödé 半導体.tif",
)  # fmt: skip
OUTCOMES = ("missed", "false alarm", "found", "clean")


def gallery(count: int = 12, size: int = 16, seed: int = 0, names: Any = HOSTILE, noise: bool = False) -> Gallery:
    draw = np.random.default_rng(seed)
    plane = (count, size, size)
    images = draw.integers(0, 256, (count, 1, size, size), dtype=np.uint8) if noise else np.full((count, 1, size, size), 90, np.uint8)
    images[:, :, 3:7, 3:7] += 100 if not noise else 0
    truth, found = np.zeros(plane, bool), np.zeros(plane, bool)
    truth[::2, 3:7, 3:7], found[::3, 4:8, 4:8] = True, True
    if noise:
        truth, found = draw.random(plane) < 0.3, draw.random(plane) < 0.3
    scores = draw.integers(0, 256, plane, dtype=np.uint8) if noise else (found * 200).astype(np.uint8)
    return Gallery(
        [f"{names[i % len(names)]} {i}" if i >= len(names) else names[i] for i in range(count)], images, [OUTCOMES[i % 4] for i in range(count)],
        truth, found, np.zeros(plane, bool), scores, {"iou": draw.random(count).round(3).tolist(), "class": [HOSTILE[i % 3] for i in range(count)]}, 400,
    )  # fmt: skip


class Judging(Method):
    """A report with images of hostile names, and two sets with different grey ranges."""

    name = "judging"

    @task(version=1)
    def judge(self, ctx: Context, params: Params) -> Report:
        metrics = {
            "model": {"iou": Metric(0.5, (0.4, 0.6), better="up", role="headline")},
            "baseline": {"iou": Metric(0.7, (0.65, 0.75), role="control")},
        }
        chart = Chart(
            "false alarms an image",
            "found",
            {"z last": [[0.0, 0.2, 0.1, 0.3], [0.5, 0.9, 0.8, 1.0]], "a": [[0.1, 0.4], [1.0, 1.0]]},
            wide=True,
        )
        return Report.write(ctx, metrics, gallery=gallery(), charts={"FROC": chart}, verdict="Worse & <b>paired</b>.", notes=["A note."])

    @task(version=1)
    def dark(self, ctx: Context, params: Params) -> ImageSet:
        return ImageSet.write(ctx, np.random.default_rng(0).integers(40, 120, (8, 1, 16, 16), dtype=np.uint8))

    @task(version=1)
    def light(self, ctx: Context, params: Params) -> ImageSet:
        return ImageSet.write(ctx, np.random.default_rng(0).integers(100, 190, (8, 1, 16, 16), dtype=np.uint8))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("judging")
    registry, store = Registry(), LocalStore(folder / "store")
    registry._add_method(Judging, Origin("judging", "judging", "1"))
    steps = {name: {"task": f"judging.{name}"} for name in ("dark", "light", "judge")}
    plan = make_plan(Pipeline.parse({"name": "judged", "steps": steps}), registry, store)
    write_page(folder / "page.html", plan, run_inline(plan, Engine(registry, store, Options(device="cpu"))), store)
    return (folder / "page.html").read_text()


def test_a_gallery_is_kept_whole_and_its_bounds_are_held(store: LocalStore) -> None:
    given = gallery()
    kept = write_artifact(
        store,
        lambda ctx: Report.write(ctx, {}, gallery=given, charts={"b": Chart("x", "y", {"z": [[0, 1]], "a": []}), "a": Chart("x", "y", {})}),
    )
    assert (
        isinstance(kept, Report)
        and kept.gallery is not None
        and list(kept.charts) == ["b", "a"]
        and list(kept.charts["b"].series) == ["z", "a"]
    )
    for field in ("images", "truth", "found", "unknown", "scores"):
        np.testing.assert_array_equal(getattr(kept.gallery, field), getattr(given, field))
    assert (kept.gallery.names, kept.gallery.values, kept.gallery.of) == (given.names, given.values, 400) and kept.summary() == "0 metrics"
    for change, words in (
        ({"names": ["a"]}, "1 to 200|must be|has"),
        ({"outcomes": ["odd"] * 12}, "not 'odd'"),
        ({"values": {"iou": [1]}}, "1 iou"),
    ):
        with pytest.raises(DataError, match=words):
            Gallery(**{**{name: getattr(given, name) for name in given.__dataclass_fields__}, **change})
    with pytest.raises(DataError, match="1 to 200 images of at most 256"):
        gallery(2, 257)


def test_hostile_names_are_text(page: str) -> None:
    assert (
        "<script" not in page
        and "<img src=x" not in page
        and "onmouseover='x" not in page
        and "</style><b>" not in page
        and "49" not in re.findall(r"&amp;lt;b&amp;gt; &amp;amp; ([^<]{0,12})", page)
    )
    for name in HOSTILE:
        from html import escape

        assert escape(name, quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in page, name
    assert "Worse &amp; &lt;b&gt;paired&lt;/b&gt;." in page
    assert "{{ 7*7 }}" in page, "names are no templates"
    assert re.search(
        r'Content-Security-Policy" content="default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;; img-src data:"', page
    )


def test_links_ids_and_rules_fit_each_other(page: str) -> None:
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    wanted = (
        set(re.findall(r'href="#([^"]*)"', page)) | set(re.findall(r'for="([^"]*)"', page)) | set(re.findall(r"#([\w-]+):checked", page))
    )
    assert wanted <= set(ids) and len(re.findall(r'<li class="case ', page)) == 12
    for outcome in ("missed", "false-alarm", "found", "clean"):
        assert f":checked ~ .cases > .case:not(.{outcome})" in page
    assert page.count('type="radio"') == page.count("<label for=") == 5 + 4 + 3 + 3


def test_the_order_follows_the_values() -> None:
    given = gallery()
    shown = view("judge", given)
    labels = [choice.label for choice in shown.orders]
    assert labels == ["worst first", "name", "IoU"]
    by_iou = sorted(shown.cases, key=lambda case: case.places[2])
    assert [float(case.iou) for case in by_iou] == sorted(given.values["iou"])
    by_name = sorted(shown.cases, key=lambda case: case.places[1])
    assert [case.name for case in by_name] == sorted(given.names) and [case.places[0] for case in shown.cases] == list(range(12))


def test_failures_lead(page: str) -> None:
    head = page[: page.index("<nav>")]
    assert "IoU is 0.50 [0.40, 0.60] for model, against 0.70 [0.65, 0.75] for baseline." in head and 'class="lead bad"' in head
    assert head.index("<h4>Missed</h4>") < head.index("<h4>False alarms</h4>") < head.index("<h4>Found") < head.index('class="cards"')
    assert head.count('<a href="#case-judge-') == 9, "three of each sort"
    clean = gallery(4)
    only = rendered("header.html", pipeline=Pipeline.parse({"name": "a", "steps": {"b": {"task": "c.d"}}}), failures=["<b>"], lead=[], leaning="",
                    cards=[], view=view("b", trimmed(clean, 1)), pictures=[], total="1 s", steps=1, listed="")  # fmt: skip
    assert only.index("&lt;b&gt;") < only.index("Missed") and "no false alarm on a clean image" in only


def test_an_image_is_missed_only_where_none_of_its_defects_is_found() -> None:
    four = trimmed(gallery(4), 4)
    shown = view("b", replace(four, outcomes=["missed", "partly found", "found with false alarm", "clean"]))
    assert [(title, len(cases)) for title, cases, _ in shown.strips] == [
        ("Missed", 1), ("Partly found", 1), ("False alarms", 0), ("Found, typical", 1),
    ]  # fmt: skip
    assert [choice.label for choice in shown.outcomes] == ["missed 1", "partly found 1", "found with false alarm 1", "clean 1"]


def test_sets_that_are_compared_have_one_grey_range(page: str) -> None:
    told = set(re.findall(r"grey (\d+) is shown black, (\d+) white", page, re.IGNORECASE))
    assert len(told) == 1 and page.count("as in the other sets of this page") == 2
    low, high = map(int, told.pop())
    assert low <= 41 and high >= 188


def test_no_rule_of_the_page_makes_it_wider_than_the_window(page: str) -> None:
    """What may be wide (tables, the graph, code) scrolls in itself; every picture has a relative width."""
    assert not re.findall(r"<table", re.sub(r'<div class="scroll[^"]*"><table', "", page))
    for style in re.findall(r'style="([^"]*)"', page):
        assert not re.search(r"(?<![\w-])width:\s*(\d{3,})px", style), style
    for tag in re.findall(r"<svg [^>]*>", page):
        assert "viewBox" in tag and re.search(r'class="(pixels|chart|graph)', tag), tag
    css = page[page.index("<style>") : page.index("</style>")]
    assert re.search(r"body \{[^}]*overflow-wrap: break-word", css) and re.search(r"\.lead, h1[^{]*\{ overflow-wrap: anywhere", css)
    assert "pre { " in css and "overflow-x: auto" in css and "text-overflow" not in css
    assert re.search(r"\.thumb \.name \{[^}]*overflow-wrap: anywhere", css) and re.search(
        r"\.zoom \.title \{[^}]*overflow-wrap: anywhere", css
    )


def test_labels_are_not_cut() -> None:
    long = "a clean reference of the same structure, measured on another tool, in another week, at half the dose"
    svg = intervals([(long, Metric(0.5, (0.4, 0.6), role="headline")), ("b", Metric(0.2))])
    assert " ".join(re.findall(r'class="name"[^>]*>([^<]*)<', svg)[:-1]) == long and "…" not in svg
    drawn = lines(Chart("x" * 40, "y", {long: [[0, 0], [1, 1]]}))
    assert long in drawn and "x" * 40 in drawn


def test_no_two_of_a_dozen_lines_look_alike() -> None:
    drawn = lines(Chart("x", "y", {f"recipe {number}": [[0, 0], [1, number]] for number in range(12)}))
    keys = dict(re.findall(r'class="series ([^"]+)">([^<]*)<', drawn))
    assert len(keys) == 12 and keys["s1"] == "recipe 1" and keys["s1 d1"] == "recipe 5" and keys["s3 d2"] == "recipe 11"
    assert all(f'class="line {style}"' in drawn for style in keys)
    style = css()
    assert all(f".chart .line.{dash}" in style and f".series.{dash}::before" in style for dash in ("d1", "d2"))


def test_a_chart_is_to_scale_and_holds_what_is_0() -> None:
    chart = Chart("alarms", "found", {"model": [[0, 0.2, 0.1, 0.3], [0.1, 0.5, 0.4, 0.6], [1, 0.8, 0.7, 0.9]]}, wide=True)
    svg = lines(chart)
    xs = [float(x) for x in re.findall(r'<circle class="s0" cx="([\d.]+)"', svg)]
    assert (
        xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2) and ">0</text>" in svg and ">0.1</text>" in svg and 'class="band s0"' in svg
    )
    assert lines(Chart("x", "y", {"a": [[0, 1]]})) == "" == lines(Chart("x", "y", {}))
    with pytest.raises(DataError, match="points"):
        Chart("x", "y", {"a": [[1]]})


def test_small_images_are_on_the_page_pixel_by_pixel() -> None:
    given = gallery()
    shown = view("a", given)
    low, high = grey_range(given)
    first = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.cases[0].image.partition(",")[2]))))
    np.testing.assert_array_equal(first, stretched(given, low, high)[0, ..., 0])
    assert "Averaged" not in shown.caption and "12 of 400" in shown.caption


def test_two_hundred_of_the_hardest_images_fit_into_five_megabytes() -> None:
    """Noise of 256 x 256 pixels with noise for masks and scores, which nothing can compress."""
    shown = view("a", gallery(200, 256, noise=True))
    text = rendered("gallery.html", v=shown)
    assert 500_000 < len(text.encode()) < 3_800_000, "what is left is for sheets of samples, pictures and words"
    assert "Averaged down" in shown.caption


def test_pictures_keep_to_their_room() -> None:
    noise = list(np.random.default_rng(0).integers(0, 256, (6, 96, 96, 1), dtype=np.uint8))
    whole, by = data_uris(noise, 10**7)
    assert by == 1 and all(uri.startswith("data:image/png") for uri in whole)
    lossy, by = data_uris(noise, 30_000)
    assert by >= 1 and all(uri.startswith("data:image/webp") for uri in lossy) and sum(map(len, lossy)) < 33_000


def test_reducing_keeps_means_and_single_pixels() -> None:
    values = np.arange(49, dtype=np.uint8).reshape(1, 7, 7)
    assert (
        reduced(values, 1) is values and reduced(values, 3).shape == (1, 3, 3) and reduced(values, 3)[0, 0, 0] == values[0, :3, :3].mean()
    )
    one = np.zeros((1, 7, 7), bool)
    one[0, 6, 2] = True
    assert reduced(one, 3, largest=True).sum() == 1 and reduced(one, 3, largest=True)[0, 2, 0]


def side(name: str, metric: Metric, path: str = "iou", given: Gallery | None = None) -> Side:
    return Side(name, "p", "2026-01-01T00:00:00Z", "done", {("s", "x"): name, ("s", "y"): 1}, {"model": {path: metric}}, given)


def test_runs_are_compared_by_one_metric_or_not_at_all(tmp_path: Any) -> None:
    up, higher = Metric(0.5, (0.4, 0.6), better="up", role="headline"), Metric(0.8, (0.7, 0.9), better="up", role="headline")
    lower = Metric(0.2, better="down", role="headline")
    assert verdict(side("a", up), side("b", higher)) == "model IoU goes from 0.50 [0.40, 0.60] to 0.80 [0.70, 0.90]: the second is better."
    assert "the second is worse" in verdict(side("a", higher), side("b", up))
    near = Metric(0.55, (0.45, 0.65), better="up", role="headline")
    assert (
        "may be chance" in verdict(side("a", up), side("b", near))
        and verdict(side("a", up), side("b", up)) == "model IoU is 0.50 [0.40, 0.60] in both runs."
    )
    assert "the same run" in verdict(side("a", up), side("a", up))
    for other in (side("b", lower), side("b", higher, "mse"), side("b", Metric(0.5))):
        assert verdict(side("a", up), other).startswith("No verdict: ")
    first, second = gallery(), gallery(names=("x",))
    changed = Gallery(**{**{n: getattr(first, n) for n in first.__dataclass_fields__}, "outcomes": [*first.outcomes[:-1], "missed"]})
    assert changed_images(side("a", up, given=first), side("b", up, given=second)) == []
    found = changed_images(side("a", up, given=first), side("b", up, given=changed))
    assert [(name, a, b) for name, a, b in found] == [(first.names[-1], 11, 11)]
    told = document(side("a", up, given=first), side("b", higher, given=changed))
    assert told["settings"] == [{"step": "s", "field": "x", "first": "a", "second": "b"}] and told["metrics"][0]["says"] == "better"
    write_comparison(tmp_path / "c.html", side(HOSTILE[0], up, given=first), side(HOSTILE[1], higher, given=changed))
    text = (tmp_path / "c.html").read_text()
    assert "<script" not in text and "<img src=x" not in text and text.count('<li><span class="name">') == 1
