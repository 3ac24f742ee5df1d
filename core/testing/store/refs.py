"""What a store under test is opened by, and what it promises of names for artifacts: nothing is lost, nothing is moved unseen."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fabloom.errors import RefMoved, UserError
from fabloom.kinds.store import Store

from .deeds import A, B, C


class RefsConformance:
    """The part of `StoreConformance` that is about refs."""

    def open(self, place: Path, *, read_only: bool = False) -> Store:
        """The store at `place`, made where nothing is there."""
        raise NotImplementedError

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """An empty folder."""
        return tmp_path / "place"

    @pytest.fixture
    def fabloom_store(self, place: Path) -> Store:
        """The store under test, empty."""
        return self.open(place)

    def test_a_ref_remembers_everything(self, fabloom_store: Store, place: Path) -> None:
        refs = fabloom_store.refs
        refs.set("line/champion", A, why="first")
        refs.set("line/champion", B, expected=A, why="better by 0.02")
        assert refs.get("line/champion") == fabloom_store.resolve("ref:line/champion") == B and refs.names() == ["line/champion"]
        back = refs.rollback("line/champion", why="false alarms")
        assert back.key == refs.get("line/champion") == A and refs.held("line/champion") == {B}
        log = self.open(place).refs.log("line/champion")
        assert [(entry.action, entry.key) for entry in log] == [("set", A), ("set", B), ("rollback", A), ("hold", B)]
        assert [entry.n for entry in log] == [1, 2, 3, 4] and log[1].why == "better by 0.02" and log[1].expected == A and log[0].at
        assert refs.history("line/champion") == [A, B, A]
        refs.unhold("line/champion", B)
        assert refs.held("line/champion") == frozenset() and len(refs.log("line/champion")) == 5

    def test_a_promotion_against_an_old_state_fails(self, fabloom_store: Store) -> None:
        refs = fabloom_store.refs
        refs.set("champion", A)
        refs.set("champion", B)
        for name, expected in (("champion", A), ("nobody", A)):
            with pytest.raises(RefMoved):
                refs.set(name, C, expected=expected)
        assert refs.get("champion") == B and refs.names() == ["champion"]
        refs.set("first", A, expected="")
        with pytest.raises(RefMoved):
            refs.set("first", B, expected="")
        refs.delete("first")
        assert refs.set("champion", B) == refs.log("champion")[-1] and len(refs.log("champion")) == 2, "nothing new, nothing appended"

    def test_a_rollback_goes_to_what_was_before_what_was_taken_back(self, fabloom_store: Store) -> None:
        refs = fabloom_store.refs
        for key in (A, B, C):
            refs.set("r", key)
        assert [refs.rollback("r", hold=False).key, refs.rollback("r", hold=False).key] == [B, A]
        with pytest.raises(UserError, match="no earlier"):
            refs.rollback("r")
        assert refs.rollback("r", to=C).key == C
        with pytest.raises(UserError, match="never"):
            refs.rollback("r", to="d" * 40)

    def test_a_ref_that_is_renamed_and_set_again_may_be_renamed_again(self, fabloom_store: Store) -> None:
        refs = fabloom_store.refs
        for key in (A, B):
            refs.set("old", key)
            refs.rename("old", "new")
            refs.delete("new")
        told = [("set", A), ("rename", A), ("delete", A), ("set", B), ("rename", B), ("delete", B)]
        assert [(entry.action, entry.key) for entry in refs.log("new")] == told
        assert [entry.n for entry in refs.log("new")] == [1, 2, 3, 4, 5, 6], "numbers go on"

    def test_many_writers_lose_nothing(self, fabloom_store: Store, place: Path) -> None:
        doors, errors = [self.open(place) for _ in range(4)], []

        def promote(door: Store, digit: str) -> None:
            try:
                for number in range(10):
                    door.refs.set("busy", f"{number:039x}{digit}")
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=promote, args=(door, f"{n:x}")) for n, door in enumerate(doors)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        log = fabloom_store.refs.log("busy")
        assert len({entry.key for entry in log}) == len(log) == 40 and [entry.n for entry in log] == list(range(1, 41))

    @pytest.mark.parametrize("name", ["../out", "/etc/x", "", "a//b", ".hidden", "a/../b", "a.json/b", "x" * 300])
    def test_unsafe_ref_names_are_refused(self, fabloom_store: Store, name: str) -> None:
        with pytest.raises(UserError):
            fabloom_store.refs.set(name, A)
        with pytest.raises(UserError):
            fabloom_store.refs.get(name)
