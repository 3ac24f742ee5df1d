"""Whether something new has come to rest, as a pure step and on a real folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fabloom.errors import DataError
from fabloom.flows.production.night import if_new
from fabloom.flows.production.watching import Watch, look, remember, remembered, state_of, taken

if TYPE_CHECKING:
    from conftest import Line
else:
    Line = Any


def test_a_change_is_due_once_it_has_been_at_rest() -> None:
    watch, sight = look(Watch(), "a", 100.0, 60)
    assert sight == "settling"
    watch, sight = look(watch, "b", 150.0, 60)  # more of it came
    assert sight == "settling"
    assert look(watch, "b", 209.9, 60)[1] == "settling"
    watch, sight = look(watch, "b", 210.0, 60)
    assert sight == "due"
    watch = taken(watch, "b")
    watch, sight = look(watch, "b", 1000.0, 60)
    assert sight == "unchanged"
    watch, sight = look(watch, "c", 1001.0, 60)
    assert sight == "settling" and look(watch, "b", 1100.0, 60)[1] == "unchanged", "it was taken back"
    assert look(watch, "c", 5.0, 60)[1] == "settling", "the clock went back"
    assert look(Watch(), "a", 0.0, 0)[1] == "due"


def test_a_night_begins_when_new_data_have_settled(line: Line) -> None:
    spec, how = line.spec, line.how()
    assert [if_new(spec, how, now).outcome for now in (1000.0, 1030.0)] == ["Skipped", "Skipped"]
    assert line.store.refs.names() == ["unit/heldout"], "nothing is kept of a look"
    assert if_new(spec, how, 1060.0).outcome == "Promoted"
    assert if_new(spec, how, 1070.0).outcome == "NoChange"
    line.grey(120)
    assert if_new(spec, how, 1080.0).outcome == "Skipped" and if_new(spec, how, 1140.0).outcome == "Promoted"
    assert remembered(line.store, "unit").done != "" and remembered(line.store, "other") == Watch()


def test_what_is_named_is_watched(line: Line) -> None:
    spec = line.spec.model_copy(update={"watch": ["data", "ref:unit/heldout"]})
    states = [state_of(spec, line.registry, line.store)]
    line.grey(101)
    states.append(state_of(spec, line.registry, line.store))
    line.store.refs.set("unit/heldout", "a" * 40)
    states.append(state_of(spec, line.registry, line.store))
    assert len({*states}) == 3 and state_of(spec, line.registry, line.store) == states[-1]
    with pytest.raises(DataError, match="nowhere"):
        state_of(spec.model_copy(update={"watch": ["nowhere"]}), line.registry, line.store)


def test_what_else_a_night_decides_by_is_watched_too(line: Line) -> None:
    spec = line.spec.model_copy(update={"watch": ["data"]})
    looser = spec.model_copy(update={"gate": [spec.gate[0].model_copy(update={"by": 0.001})]})
    line.store.refs.set("unit/champion", "a" * 40)
    line.store.refs.set("unit/champion", "b" * 40)
    states = [state_of(one, line.registry, line.store, seed) for one, seed in ((spec, None), (looser, None), (spec, 3))]
    line.store.refs.rollback("unit/champion")
    held = state_of(spec, line.registry, line.store)
    line.store.refs.unhold("unit/champion", "b" * 40)
    assert len({*states, held}) == 4 and state_of(spec, line.registry, line.store) == states[0]


def test_a_superseded_night_is_due_again(line: Line) -> None:
    """The next one decides against the champion that somebody else set."""
    spec, how = line.spec.model_copy(update={"settle": 0.0}), line.how()
    assert if_new(spec, how, 1000.0).outcome == "Promoted"
    line.grey(120)
    first = line.store.refs.get("unit/champion")

    def meddling(event: Any) -> None:
        if event["event"] == "finished" and event["step"] == "evaluation":
            line.store.refs.set("unit/champion", line.store.resolve("ref:unit/heldout"))

    assert if_new(spec, line.how(emit=meddling), 1100.0).outcome == "Superseded"
    line.store.refs.set("unit/champion", first)
    assert if_new(spec, how, 1200.0).outcome == "Promoted"
    assert if_new(spec, how, 1300.0).outcome == "NoChange"


def test_what_is_remembered_outlives_the_rubbish_collection(line: Line) -> None:
    remember(line.store, "unit", Watch("a", "b", 1.5))
    assert line.command("gc")[0] == 0
    assert remembered(line.store, "unit") == Watch("a", "b", 1.5)
