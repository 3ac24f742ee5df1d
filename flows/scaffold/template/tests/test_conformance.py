"""Everything the contract of fabloom promises of a method, as tests. What each wants: docs/testing.md of fabloom."""

from __future__ import annotations

from my_weave.method import MyWeave

from fabloom.testing import MethodConformance


class TestMyWeave(MethodConformance):
    method = MyWeave
    # so small that each run takes a moment: the inherited tests run every task several times
    params = {"train": {"steps": 6, "batch": 2, "width": 4}, "sample": {"count": 3, "steps": 2}}
