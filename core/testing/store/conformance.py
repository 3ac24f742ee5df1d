"""`StoreConformance`: everything that `fabloom.kinds.store.Store` promises, as tests for the author of a store.

    from fabloom.testing import StoreConformance

    class TestBucket(StoreConformance):
        def open(self, place, *, read_only=False):
            return BucketStore(f"bucket://{place}", read_only=read_only)

`place` is an empty folder of the test; two openings of one place are two doors to the same content.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from fabloom.errors import EnvironmentProblem, FabloomError, PluginError, UserError
from fabloom.kinds import Artifact, ImageSet, Model, OfflineData, RowSpec
from fabloom.kinds.store import MEMBERS, Store
from fabloom.method import Context
from fabloom.registry.address import check_address

from .deeds import A, B, C, asked, commit, facts, ignore, never, pictures
from .refs import RefsConformance

__all__ = ["A", "B", "C", "StoreConformance", "asked", "commit", "facts", "ignore", "never", "pictures"]


class StoreConformance(RefsConformance):
    """Subclass it and give `open`."""

    # ---------------------------------------------------------------------------------------------------- what is there, what is not

    def test_it_has_every_member_of_the_protocol(self, fabloom_store: Store) -> None:
        assert not [name for name in MEMBERS if not hasattr(fabloom_store, name)]
        assert isinstance(fabloom_store.url, str) and fabloom_store.url and fabloom_store.read_only is False
        check_address(fabloom_store.url)

    def test_an_empty_store_knows_nothing_and_says_so(self, fabloom_store: Store) -> None:
        key = asked("nothing")
        assert not fabloom_store.has(key) and list(fabloom_store.keys()) == [] and fabloom_store.refs.names() == []
        for question in (fabloom_store.manifest, fabloom_store.get, fabloom_store.resolve, fabloom_store.committed_at):
            with pytest.raises(UserError):
                question(key)

    def test_what_was_committed_is_read_back_by_every_door(self, fabloom_store: Store, place: Path) -> None:
        pixels = pictures(5)
        made = commit(fabloom_store, "images", lambda ctx: ImageSet.write(ctx, pixels, attrs={"note": "ä", "low": 0.5}))
        for door in (fabloom_store, self.open(place)):
            assert door.has(made.key) and list(door.keys()) == [made.key] and door.committed_at(made.key) > 0
            found, manifest = door.get(made.key), door.manifest(made.key)
            assert isinstance(found, ImageSet) and (found.images[:] == pixels).all() and (found.images[1:4] == pixels[1:4]).all()
            assert dict(found.attrs) == {"note": "ä", "low": 0.5} and found.key == made.key
            assert found.digest == manifest["digest"] == made.digest != "" and manifest["kind"] == "ImageSet"
            assert manifest["key"] == made.key and manifest["arrays"]["images"] == {"shape": list(pixels.shape), "dtype": "uint8"}
            assert door.resolve(f"key:{made.key}") == door.resolve(made.key) == door.resolve(made.key[:8]) == made.key

    def test_tensors_of_any_shape_and_dtype(self, fabloom_store: Store) -> None:
        import torch

        state = {
            "a.weight": torch.randn(3, 2, 1, 1), "b": torch.tensor(7), "c": torch.empty(0, 4), "d": torch.randn(5).bfloat16(),
            "e": torch.tensor([True, False]), "f": torch.arange(3), "g": torch.randn(2, 2, dtype=torch.float64),
        }  # fmt: skip
        made = commit(fabloom_store, "model", lambda ctx: Model.write(ctx, state, {"width": 3}))
        assert isinstance(made, Model) and made.config == {"width": 3}
        found = made.state()
        assert set(found) == set(state) and all(found[n].dtype == t.dtype and torch.equal(found[n], t) for n, t in state.items())

    def test_rows_in_blocks_at_random_and_in_any_order(self, fabloom_store: Store) -> None:
        specs = {"id": RowSpec("int64"), "code": RowSpec("int8", (2, 3))}
        ids, codes = np.arange(11), np.random.default_rng(0).integers(-127, 128, (11, 2, 3)).astype(np.int8)

        def write(ctx: Context) -> Artifact:
            writer = OfflineData.writer(ctx, count=11, block=4, arrays=specs)
            for start in range(writer.start, 11, 3):  # batches that are no blocks
                writer.append({"id": ids[start : start + 3], "code": codes[start : start + 3]})
            return OfflineData.finish(ctx, writer, {"T": 1})

        made = commit(fabloom_store, "rows", write)
        assert isinstance(made, OfflineData)
        rows = [10, 0, 0, 7, 3]
        read = made.reader(["id", "code"]).read(rows)
        assert (read["id"] == ids[rows]).all() and (read["code"] == codes[rows]).all()
        assert (made.array("code")[...] == codes).all()

    def test_missing_rows_foreign_rows_and_unsafe_names_are_refused(self, fabloom_store: Store) -> None:
        def short(ctx: Context) -> Artifact:
            writer = OfflineData.writer(ctx, count=5, block=2, arrays={"id": RowSpec("int64")})
            writer.append({"id": np.arange(3)})
            return OfflineData.finish(ctx, writer, {})

        def foreign(ctx: Context) -> Artifact:
            writer = OfflineData.writer(ctx, count=3, block=2, arrays={"id": RowSpec("int64")})
            writer.append({"id": np.zeros(3, np.float32)})
            return OfflineData.finish(ctx, writer, {})

        for write in (short, foreign):
            with pytest.raises((ValueError, FabloomError)):
                commit(fabloom_store, write.__name__, write)
        for name in ("../out", "a/b", "", ".hidden", "a" * 300):
            with fabloom_store.lock(A, ignore, never), pytest.raises(ValueError):
                fabloom_store.stage(A).put(name, np.zeros(2))
        assert list(fabloom_store.keys()) == []

    def test_what_is_handed_out_cannot_be_changed_through_it(self, fabloom_store: Store) -> None:
        made = commit(fabloom_store, "images", lambda ctx: ImageSet.write(ctx, pictures(3), attrs={"list": [1]}))
        assert isinstance(made, ImageSet)
        before = made.images[:]
        piece = made.images[:]
        piece[...] = 0
        fabloom_store.manifest(made.key)["digest"] = "x"
        again = fabloom_store.get(made.key)
        assert (
            isinstance(again, ImageSet) and (again.images[:] == before).all() and fabloom_store.manifest(made.key)["digest"] == made.digest
        )

    def test_a_kind_that_nothing_declares_names_its_maker(self, fabloom_store: Store) -> None:
        made = commit(fabloom_store, "images", lambda ctx: ImageSet.write(ctx, pictures(2)))
        del fabloom_store.kinds["ImageSet"]
        with pytest.raises(PluginError, match="kit 0"):
            fabloom_store.get(made.key)

    # ---------------------------------------------------------------------------------------------------- becoming an artifact

    def test_before_the_commit_nothing_is_seen(self, fabloom_store: Store, place: Path) -> None:
        key = asked("images")
        with fabloom_store.lock(key, ignore, never):
            staged = fabloom_store.stage(key)
            ImageSet.write(Context(staging=staged, seed=0, workdir=fabloom_store.work(key)), pictures(2))
            assert not fabloom_store.has(key) and not self.open(place).has(key) and list(self.open(place).keys()) == []
            assert fabloom_store.commit(staged, facts("images", "ImageSet"))["key"] == key
        assert fabloom_store.has(key) and self.open(place).has(key)

    def test_equal_content_has_one_digest_and_other_content_another(self, fabloom_store: Store) -> None:
        one, same, other = (
            commit(fabloom_store, name, lambda ctx, n=n: ImageSet.write(ctx, pictures(3, n)))
            for name, n in (("one", 0), ("same", 0), ("other", 1))
        )
        assert one.digest == same.digest != other.digest and len(list(fabloom_store.keys())) == 3

    def test_the_first_commit_of_a_key_stays(self, fabloom_store: Store) -> None:
        first = commit(fabloom_store, "twice", lambda ctx: ImageSet.write(ctx, pictures(2, 0)))
        key = first.key
        with fabloom_store.lock(key, ignore, never):
            staged = fabloom_store.stage(key)
            ImageSet.write(Context(staging=staged, seed=0, workdir=fabloom_store.work(key)), pictures(2, 1))
            told = fabloom_store.commit(staged, facts("twice", "ImageSet"))
        kept = fabloom_store.get(key)
        assert told["digest"] == first.digest == kept.digest and (kept.array("images")[...] == pictures(2, 0)).all()

    def test_a_replacing_commit_takes_the_place_of_the_first_which_stays_until_then(self, fabloom_store: Store, place: Path) -> None:
        first = commit(fabloom_store, "again", lambda ctx: ImageSet.write(ctx, pictures(2, 0)))
        key = first.key
        with fabloom_store.lock(key, ignore, never):
            staged = fabloom_store.stage(key)
            ImageSet.write(Context(staging=staged, seed=0, workdir=fabloom_store.work(key)), pictures(2, 1))
            assert (fabloom_store.get(key).array("images")[...] == pictures(2, 0)).all()
            told = fabloom_store.commit(staged, facts("again", "ImageSet"), replace=True)
        assert told["digest"] != first.digest and list(fabloom_store.keys()) == [key]
        for door in (fabloom_store, self.open(place)):
            assert door.get(key).digest == told["digest"] and (door.get(key).array("images")[...] == pictures(2, 1)).all()

    def test_staging_again_after_a_death_goes_on_with_whole_blocks_or_begins_anew(self, fabloom_store: Store, place: Path) -> None:
        specs, key, ids = {"id": RowSpec("int64", (9,))}, asked("died"), np.arange(90).reshape(10, 9)
        with fabloom_store.lock(key, ignore, never):
            writer = fabloom_store.stage(key).rows(10, 4, specs)
            writer.append({"id": ids[:6]})  # one block and a half, and then nobody closes it
        door = self.open(place)
        with door.lock(key, ignore, never):
            staged = door.stage(key)
            writer = staged.rows(10, 4, specs)
            assert writer.start in (0, 4), "only whole blocks count"
            writer.append({"id": ids[writer.start :]})
            writer.close()
            door.commit(staged, facts("died", "OfflineData"))
        assert (door.get(key).array("id")[...] == ids).all()

    def test_work_survives_until_the_commit(self, fabloom_store: Store, place: Path) -> None:
        key = asked("work")
        folder = fabloom_store.work(key)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ckpt").write_text("7")
        assert (self.open(place).work(key) / "ckpt").read_text() == "7"
        commit(fabloom_store, "work", lambda ctx: ImageSet.write(ctx, pictures(2)))
        assert not (fabloom_store.work(key) / "ckpt").exists()

    def test_set_aside_takes_it_out_and_it_can_be_made_again(self, fabloom_store: Store) -> None:
        made = commit(fabloom_store, "again", lambda ctx: ImageSet.write(ctx, pictures(2)))
        with fabloom_store.lock(made.key, ignore, never):
            fabloom_store.set_aside(made.key)
        assert not fabloom_store.has(made.key) and list(fabloom_store.keys()) == []
        assert commit(fabloom_store, "again", lambda ctx: ImageSet.write(ctx, pictures(2))).digest == made.digest

    def test_a_key_has_one_holder_and_a_wait_can_be_ended(self, fabloom_store: Store, place: Path) -> None:
        waits: list[str] = []
        door = self.open(place)
        with fabloom_store.lock(A, ignore, never) as held:
            assert held
            with door.lock(A, waits.append, lambda: bool(waits)) as second:
                assert not second and len(waits) == 1
            with door.lock(B, ignore, never) as other:
                assert other, "another key is free"
            taken = threading.Event()

            def wait() -> None:
                with door.lock(A, waits.append, never) as third:
                    if third:
                        taken.set()

            waiting = threading.Thread(target=wait)
            waiting.start()
            assert not taken.wait(0.2)
        waiting.join(timeout=30)
        assert taken.is_set(), "it is free once the holder let go"

    def test_lineage_is_nearest_first(self, fabloom_store: Store) -> None:
        first = commit(fabloom_store, "first", lambda ctx: ImageSet.write(ctx, pictures(2)))
        second = commit(fabloom_store, "second", lambda ctx: ImageSet.write(ctx, pictures(2, 1)), {"images": first.key})
        third = commit(fabloom_store, "third", lambda ctx: ImageSet.write(ctx, pictures(2, 2)), {"all": [second.key, first.key]})
        assert list(fabloom_store.lineage(third.key)) == [third.key, second.key, first.key]

    # ---------------------------------------------------------------------------------------------------- only looking

    def test_a_read_only_door_reads_everything_and_changes_nothing(self, fabloom_store: Store, place: Path) -> None:
        made = commit(fabloom_store, "images", lambda ctx: ImageSet.write(ctx, pictures(2)))
        fabloom_store.refs.set("r", made.key)
        door = self.open(place, read_only=True)
        assert door.read_only and door.get(door.resolve("ref:r")).digest == made.digest and list(door.keys()) == [made.key]
        for change in (
            lambda: door.stage(A),
            lambda: door.lock(A, ignore, never).__enter__(),
            lambda: door.set_aside(made.key),
        ):
            with pytest.raises(EnvironmentProblem):
                change()
        assert fabloom_store.has(made.key)
