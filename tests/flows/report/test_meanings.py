"""A metric says what a table calls it and what it means, and both reach the reader."""

from __future__ import annotations

from fabloom.flows.report.exhibits import metrics
from fabloom.flows.report.numbers import comparisons
from fabloom.kinds import Metric
from fabloom.kinds.metric import described, facts, plain

ODD = Metric(0.5, (0.4, 0.6), better="up", role="headline", label="found <twice>", meaning="share that is found & kept")


def test_a_label_and_a_meaning_survive_the_store_and_are_shown() -> None:
    given = {"model": {"hits_moved": ODD}, "nothing": {"hits_moved": Metric(0.0, better="up", role="control")}}
    back = described(plain(given), facts(given))
    assert back["model"]["hits_moved"] == ODD
    (block,) = comparisons(back)
    assert block.label("hits_moved") == "found <twice> ↑" and block.meanings == {"found <twice>": "share that is found & kept"}
    page = metrics(back)
    assert "<dt>found &lt;twice&gt;</dt><dd>share that is found &amp; kept</dd>" in page and "hits moved" not in page


def test_a_metric_that_explains_nothing_adds_nothing() -> None:
    assert "What these numbers mean" not in metrics({"iou": Metric(0.5)})
