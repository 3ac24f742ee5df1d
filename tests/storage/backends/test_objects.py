"""The store in a bucket, against a server on loopback that speaks S3: who wins, what a kill leaves, what is read, what is never shown."""

from __future__ import annotations

import contextlib
import http.server
import os
import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fabloom
from fabloom.errors import DamagedArtifact, EnvironmentProblem, UserError
from fabloom.kinds import ImageSet, OfflineData, RowSpec
from fabloom.kinds.store import Store
from fabloom.method import Context
from fabloom.planning.keys import artifact_key, part_preimage
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.backends.objects import bucket, reading, upkeep
from fabloom.storage.backends.objects.address import endpoint, parse
from fabloom.storage.backends.objects.bucket import Bucket, S3Bucket
from fabloom.storage.backends.objects.refs import Overtaken
from fabloom.storage.backends.objects.store import ObjectStore
from fabloom.testing import StoreConformance
from fabloom.testing.store.conformance import A, B, asked, commit, facts, ignore, never, pictures

pytestmark = pytest.mark.usefixtures("s3")

Open = Callable[..., ObjectStore]


class TestBucket(StoreConformance):
    def open(self, place: Path, *, read_only: bool = False) -> Store:
        return ObjectStore(f"s3://lab/{place.parent.name}", read_only=read_only, work=place)


class Through:
    """A bucket with one operation in between."""

    def __init__(self, bucket: Bucket, **instead: Any) -> None:
        self._bucket, self._instead = bucket, instead

    def __getattr__(self, name: str) -> Any:
        return self._instead.get(name) or getattr(self._bucket, name)


@pytest.fixture
def url() -> str:
    """A store that is nobody else's."""
    return f"s3://lab/{secrets.token_hex(4)}/runs"


@pytest.fixture
def machine(url: str, tmp_path: Path) -> Open:
    """Opens the store as another machine would: with a work folder of its own. `machine("a", bucket=…)`."""
    return lambda name="ours", **more: ObjectStore(url, work=tmp_path / name, **more)


def images(seed: int = 0, count: int = 5) -> Callable[[Context], Any]:
    return lambda ctx: ImageSet.write(ctx, pictures(count, seed))


def sealed(store: Store, name: str, seed: int = 0) -> tuple[Any, dict[str, Any]]:
    """An artifact that is staged, ready to be committed."""
    staged = store.stage(asked(name))
    ImageSet.write(Context(staging=staged, seed=0, workdir=store.work(staged.key)), pictures(5, seed))
    return staged, facts(name, "ImageSet")


def names(bucket: Bucket, room: str) -> list[str]:
    return [entry.name for entry in bucket.list(room)]


# -------------------------------------------------------------------------------------------------------- one winner


def test_of_sixteen_machines_that_make_one_artifact_one_wins_and_the_others_data_go(machine: Open) -> None:
    stores = [machine(f"m{n}") for n in range(16)]
    ready = [sealed(store, "race", seed=n) for n, store in enumerate(stores)]
    start, told = threading.Barrier(16), {}

    def go(n: int) -> None:
        start.wait()
        told[n] = stores[n].commit(*ready[n])["digest"]

    threads = [threading.Thread(target=go, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    key = asked("race")
    assert len(told) == 16 and len(set(told.values())) == 1 and list(stores[0].keys()) == [key]
    winner = next(n for n in range(16) if (stores[0].get(key).array("images")[...] == pictures(5, n)).all())
    assert stores[winner].get(key).digest == told[0] and len(stores[0].upkeep.uploads()[key]) == 1
    warned = [n for n, store in enumerate(stores) if store.upkeep.verify(key).warnings]
    assert warned == [n for n in range(16) if n != winner], "each loser notes that its own came out otherwise"


def test_an_answer_that_got_lost_makes_nobody_a_loser(machine: Open, url: str) -> None:
    real = S3Bucket(parse(url))

    def create(name: str, content: bytes) -> bool:
        return real.create(name, content) and False  # the request came through, its answer did not, and it was sent again

    def exchange(name: str, content: bytes, tag: str) -> bool:
        return real.exchange(name, content, tag) and False

    ours = machine()
    lossy: Any = Through(real, create=create, exchange=exchange)
    ours.bucket = ours.refs.bucket = lossy  # type: ignore[attr-defined]
    made = commit(ours, "images", images())
    assert machine("theirs").get(made.key).digest == made.digest and not list(ours.workspace.root.glob("staging/*"))
    for key in (A, B, A):
        ours.refs.set("champion", key)
    assert [entry.key for entry in machine("theirs").refs.log("champion")] == [A, B, A], "each change is there once"


def test_a_ref_that_went_to_b_and_back_is_not_the_one_that_was_read(machine: Open) -> None:
    ours, theirs = machine(), machine("theirs")
    ours.refs.set("champion", A)
    _, tag = ours.bucket.read("refs/champion.json") or (b"", "")
    for key in (B, A):
        theirs.refs.set("champion", key)
    assert theirs.refs.get("champion") == A and not ours.bucket.exchange("refs/champion.json", b"[]", tag)
    past = ours.refs.past("champion")
    theirs.refs.hold("champion", B)
    assert ours.refs.log("champion")[-1].action == "hold", "what is read beside it changes nothing about the decision"
    with pytest.raises(Overtaken):
        ours.refs.write("champion", [*past, past[0]])
    assert [entry.action for entry in ours.refs.log("champion")] == ["set", "set", "set", "hold"]
    ours.refs.unhold("champion", B)
    assert ours.refs.rename("champion", "line/champion").key == A and theirs.refs.names() == ["line/champion"]


def test_a_server_that_ignores_conditions_is_refused_before_anything_is_trusted_to_it(machine: Open, url: str) -> None:
    real = S3Bucket(parse(url))
    careless: Any = Through(real, create=lambda name, content: real.write(name, content) or True)
    for _ in range(2):
        with pytest.raises(EnvironmentProblem, match="conditional writes"):
            machine(bucket=careless)
        assert not names(real, ""), "nothing of ours is there, which would be trusted the next time"
    half: Any = Through(real, exchange=lambda name, content, tag: real.write(name, content) or True)
    with pytest.raises(EnvironmentProblem, match="conditional writes"):
        machine(bucket=half)
    ours = machine()
    ours.probe()
    assert not names(ours.bucket, "probes")
    ours.bucket = careless
    with pytest.raises(EnvironmentProblem, match="conditional writes"):
        ours.probe()


def test_two_machines_that_begin_at_the_same_moment_both_have_a_store(machine: Open, url: str) -> None:
    real = S3Bucket(parse(url))

    def overtaken(room: str, after: str = "") -> Any:
        if not room and real.look("store.json") is None:
            commit(machine("theirs"), "images", images())  # between our look for the stamp and our listing
        return real.list(room, after)

    begun: Any = Through(real, list=overtaken)
    assert list(machine(bucket=begun).keys()) == [asked("images")]


def test_a_stamp_that_is_being_put_is_waited_for(machine: Open, url: str) -> None:
    real, asked_for = S3Bucket(parse(url)), []

    def create(name: str, content: bytes) -> bool:
        asked_for.append(name)
        return real.create(name, content) if name != "store.json" or asked_for.count(name) > 2 else False  # 409

    machine(bucket=Through(real, create=create))
    assert real.look("store.json") is not None and asked_for.count("store.json") == 3


def test_a_conflict_and_an_object_that_is_gone_are_no_exchange(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    ours = S3Bucket(parse(url))
    assert not ours.exchange("refs/a.json", b"[]", '"0"')
    for refusal in (AlreadyExistsError, PreconditionError):

        def put(*_: Any, refusal: Any = refusal, **__: Any) -> None:
            raise refusal("refused")

        monkeypatch.setattr(obstore, "put", put)
        assert not ours.exchange("refs/a.json", b"[]", '"0"') and not ours.create("refs/a.json", b"[]")


def between(bucket: Bucket, name: str, after: int, work: Callable[[], Any]) -> Any:
    """A bucket in which somebody else does something right after so many readings of an object."""
    seen: list[str] = []

    def read(asked_for: str) -> Any:
        found = bucket.read(asked_for)
        seen.append(asked_for)
        if asked_for == name and seen.count(name) == after:
            work()
        return found

    return Through(bucket, read=read)


def test_what_was_decided_on_one_reading_is_not_written_over_a_later_one(machine: Open) -> None:
    ours, theirs = machine(), machine("theirs")
    plain: Any = ours.bucket

    def meanwhile(name: str, work: Callable[[], Any]) -> None:
        ours.refs.bucket = between(plain, f"refs/{name}.json", 1, work)

    meanwhile("young", lambda: theirs.refs.set("young", A))
    with pytest.raises(UserError, match="no ref 'young'"):
        ours.refs.delete("young")
    assert [entry.action for entry in theirs.refs.log("young")] == ["set"], "a ref that was not there is not deleted"
    ours.refs.set("old", B)
    theirs.refs.set("new", A)
    theirs.refs.delete("new")
    meanwhile("new", lambda: theirs.refs.set("new", A))
    with pytest.raises(UserError, match="already"):
        ours.refs.rename("old", "new")
    assert theirs.refs.get("new") == A and theirs.refs.get("old") == B


def test_a_rename_that_was_overtaken_takes_back_only_what_is_still_its_own(machine: Open) -> None:
    ours, theirs = machine(), machine("theirs")
    plain: Any = ours.bucket
    for new, theirs_now in (("kept", True), ("moved", False)):
        ours.refs.set("old", A, expected="")
        done: list[str] = []

        def create(name: str, content: bytes, new: str = new, theirs_now: bool = theirs_now, done: list[str] = done) -> bool:
            made: bool = plain.create(name, content)
            if name == f"refs/{new}.json" and not done:
                done.append(name)
                theirs.refs.set("old", B)
                if theirs_now:
                    theirs.refs.set(new, B)
            return made

        ours.refs.bucket = Through(plain, create=create)  # type: ignore[assignment]
        if theirs_now:
            with pytest.raises(UserError, match="already"):
                ours.refs.rename("old", new)
            assert (theirs.refs.get("old"), theirs.refs.get(new)) == (B, B) and theirs.refs.log(new)[-1].action == "set"
            theirs.refs.delete("old")
        else:
            ours.refs.rename("old", new)
            assert theirs.refs.get(new) == B and "old" not in theirs.refs.names()


# -------------------------------------------------------------------------------------------------------- kills


def test_an_upload_that_was_cut_off_is_not_there_is_finished_by_its_machine_and_swept_by_any(
    machine: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = machine(), machine("theirs")
    staged, what = sealed(ours, "cut")
    key, real, sent = staged.key, S3Bucket.write, []

    def cut(self: S3Bucket, name: str, content: bytes | Path) -> None:
        if len(sent) == 2:
            raise EnvironmentProblem("the network is gone")
        sent.append(name)
        real(self, name, content)

    monkeypatch.setattr(S3Bucket, "write", cut)
    with pytest.raises(EnvironmentProblem, match="network"):
        ours.commit(staged, what)
    monkeypatch.setattr(S3Bucket, "write", real)
    assert not ours.has(key) and not theirs.has(key) and list(theirs.keys()) == [] and names(ours.bucket, f"objects/{key}")
    assert theirs.upkeep.verify().leftovers == [ours.upkeep.unnamed()[0].where]
    assert theirs.upkeep.sweep() == ([], 0), "it may be under way"
    with ours.lock(key, ignore, never) as held:
        assert held and ours.has(key), "the work was done: only its upload was missing"
    assert (theirs.get(key).array("images")[...] == pictures(5)).all() and len(theirs.upkeep.uploads()[key]) == 2
    monkeypatch.setattr(upkeep, "GRACE", -60.0)
    removed, freed = theirs.upkeep.sweep()
    assert len(removed) == 1 and freed > 0 and len(theirs.upkeep.uploads()[key]) == 1 and not theirs.upkeep.verify().problems
    assert not ours.upkeep.verify().leftovers


def test_gc_takes_what_nothing_needs_and_leaves_what_a_ref_a_run_elsewhere_or_lineage_needs(machine: Open) -> None:
    ours, theirs = machine(), machine("theirs")
    first, second, loose, read = (
        commit(ours, name, images(n), inputs)
        for n, (name, inputs) in enumerate([("a", {}), ("b", {"images": asked("a")}), ("c", {}), ("d", {})])
    )
    ours.refs.set("kept", second.key)
    with theirs.pinned([read.key]):
        assert ours.upkeep.unreferenced(1) == [] and ours.upkeep.unreferenced(-1) == [loose.key]
        removed, freed = ours.upkeep.collect(-1)
    assert removed == [loose.key] and freed > 0 and not names(ours.bucket, f"objects/{loose.key}")
    assert list(theirs.keys()) == sorted([first.key, second.key, read.key]) and not names(ours.bucket, "pins")
    assert theirs.upkeep.collect(-1)[0] == [read.key] and not theirs.upkeep.verify().problems


def test_gc_leaves_what_a_ref_names_while_it_deletes(machine: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = machine(), machine("theirs")
    first, last, *two = (commit(ours, name, images(n)).key for n, name in enumerate("abcd"))
    of_two = commit(ours, "of two", images(5), {"images": two}).key
    plain: Any = ours.bucket

    def delete(gone: Sequence[str]) -> None:
        plain.delete(gone)
        if not theirs.refs.names():  # while the first goes
            theirs.refs.set("late", last)
            theirs.refs.set("later", of_two)

    ours.bucket = Through(plain, delete=delete)  # type: ignore[assignment]
    monkeypatch.setattr(upkeep, "users_first", lambda store, found: [first, last, of_two, *two])
    removed, _ = ours.upkeep.collect(-1)
    assert removed == [first] and sorted(theirs.keys()) == sorted([last, of_two, *two]) and not theirs.upkeep.verify().problems


def test_who_pins_before_the_data_go_has_the_artifact_put_back(machine: Open) -> None:
    ours, theirs = machine(), machine("theirs")
    made_from = commit(ours, "a", images()).key
    key = commit(ours, "b", images(1), {"images": made_from}).key
    told = facts("c", "ImageSet")
    told["preimage"] = part_preimage(told["preimage"], (0, 5))
    part = artifact_key(told["preimage"])
    staged = ours.stage(part)
    ImageSet.write(Context(staging=staged, seed=0, workdir=ours.work(part)), pictures(5, 2))
    ours.commit(staged, told)
    plain: Any = ours.bucket
    with contextlib.ExitStack() as run:

        def delete(gone: Sequence[str]) -> None:
            run.enter_context(theirs.pinned([key, asked("c")]))  # when gc has looked, and before anything is gone
            plain.delete(gone)

        ours.bucket = Through(plain, delete=delete)  # type: ignore[assignment]
        assert ours.upkeep.collect(-1) == ([], 0) and {*theirs.keys()} == {made_from, key, part}
        ours.bucket = plain
        assert not theirs.upkeep.verify().problems and ours.upkeep.collect(-1) == ([], 0)
    assert {*ours.upkeep.collect(-1)[0]} == {key, made_from, part}


def test_a_killed_runs_pin_goes_with_gc_on_its_machine_and_a_living_ones_stays(machine: Open) -> None:
    ours, theirs = machine(), machine("theirs")
    key = commit(ours, "a", images()).key
    with theirs.pinned([key]):
        (lock,), (pin,), left = theirs.pinning.iterdir(), names(ours.bucket, "pins"), f"pins/{'a' * 16}.json"
        ours.bucket.write(left, (ours.bucket.read(pin) or (b"", ""))[0])  # as a kill leaves both
        lock.with_stem("a" * 16).write_text("1")
        assert theirs.upkeep.verify().leftovers == [left] and not ours.upkeep.verify().leftovers
        assert ours.upkeep.sweep() == ([], 0) and theirs.upkeep.sweep()[0] == [f"{ours.url}/{left}"]
        assert names(ours.bucket, "pins") == [pin] and ours.upkeep.collect(-1) == ([], 0)
    assert not any(theirs.pinning.iterdir()) and ours.upkeep.collect(-1)[0] == [key]


def test_an_upload_that_comes_to_its_manifest_while_gc_works_stays(machine: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = machine()
    staged, what = sealed(ours, "slept")
    plain: Any = ours.bucket
    late: list[upkeep.Upload] = []

    def create(name: str, content: bytes) -> bool:
        late.extend(ours.upkeep.unnamed())  # as gc of another machine has found it
        return bool(plain.create(name, content))

    ours.bucket = Through(plain, create=create)  # type: ignore[assignment]
    ours.commit(staged, what)
    ours.bucket = plain
    monkeypatch.setattr(upkeep, "GRACE", -60.0)
    monkeypatch.setattr(upkeep.ObjectUpkeep, "unnamed", lambda self: late)
    assert len(late) == 1 and ours.upkeep.sweep() == ([], 0) and not ours.upkeep.verify(staged.key).problems


def test_another_keys_manifest_in_its_place_takes_nothing_of_that_key_along(machine: Open) -> None:
    ours = machine()
    first, second = commit(ours, "a", images()), commit(ours, "b", images(1))
    body, _ = ours.bucket.read(ours.place(first.key)) or (b"", "")
    ours.bucket.write(ours.place(second.key), body)
    ours.set_aside(second.key)
    assert not ours.has(second.key) and not ours.upkeep.verify(first.key).problems


def test_an_upload_that_is_not_whole_is_not_committed_and_not_lost(machine: Open) -> None:
    ours = machine()
    staged, what = sealed(ours, "short")
    plain: Any = ours.bucket

    def write(name: str, content: Any) -> None:
        if not name.endswith("images/zarr.json"):
            plain.write(name, content)

    ours.bucket = Through(plain, write=write)  # type: ignore[assignment]
    with pytest.raises(EnvironmentProblem, match=r"images/zarr\.json.*Run again"):
        ours.commit(staged, what)
    assert not ours.has(staged.key)
    ours.bucket = plain
    with ours.lock(staged.key, ignore, never):
        assert ours.has(staged.key) and not ours.upkeep.verify(staged.key).problems


# -------------------------------------------------------------------------------------------------------- reading


def test_what_lies_there_is_what_a_local_store_holds_and_plain_zarr(machine: Open, url: str, tmp_path: Path) -> None:
    import zarr
    from obstore.store import from_url
    from zarr.storage import ObjectStore as ZarrStore

    local = commit(LocalStore(tmp_path / "local"), "same", images())
    made = commit(machine(), "same", images())
    assert made.digest == local.digest
    ours = machine("theirs")
    place = names(ours.bucket, f"objects/{made.key}")[0].partition("data.zarr")[0] + "data.zarr"
    group = zarr.open_group(
        ZarrStore(
            from_url(f"{url}/{place}", client_options={"allow_http": True}, endpoint=os.environ["FABLOOM_S3_ENDPOINT"]), read_only=True
        ),
        mode="r",
    )
    assert (np.asarray(group["images"]) == pictures(5)).all()


def test_rows_are_fetched_by_ranges_and_the_rest_stays_there(machine: Open, url: str) -> None:
    codes = np.random.default_rng(0).integers(-100, 100, (300, 24, 24)).astype(np.int8)
    ids = np.arange(300)

    def write(ctx: Context) -> Any:
        writer = OfflineData.writer(ctx, count=300, block=128, arrays={"id": RowSpec("int64"), "code": RowSpec("int8", (24, 24))})
        writer.append({"id": ids, "code": codes})
        return OfflineData.finish(ctx, writer, {})

    key = commit(machine(), "rows", write).key
    fetched: list[int] = []
    real = S3Bucket(parse(url))

    def ranges(name: str, offsets: Sequence[int], sizes: Sequence[int]) -> Any:
        fetched.append(sum(sizes))
        return real.ranges(name, offsets, sizes)

    counting: Any = Through(real, ranges=ranges)
    found: Any = machine("theirs", bucket=counting).get(key)
    reader = found.reader(["id", "code"])
    assert sum(fetched) < 40_000
    rows = [299, 0, 7, 7, 130]
    read = reader.read(rows)
    assert (read["id"] == ids[rows]).all() and (read["code"] == codes[rows]).all()
    before = sum(fetched)
    reader.read([1, 129])
    assert sum(fetched) - before < 3 * 24 * 24 and sum(fetched) < codes.nbytes // 2
    assert (found.array("code")[...] == codes).all() and (found.array("code")[5:9, 3] == codes[5:9, 3]).all()


def test_a_portion_is_cut_by_what_is_fetched_gaps_too(machine: Open, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.random.default_rng(0).integers(-100, 100, (4096, 512)).astype(np.int8)

    def write(ctx: Context) -> Any:
        writer = OfflineData.writer(ctx, count=4096, block=4096, arrays={"code": RowSpec("int8", (512,))})
        writer.append({"code": codes})
        return OfflineData.finish(ctx, writer, {})

    key = commit(machine(), "rows", write).key
    asked_for: list[int] = []
    real = S3Bucket(parse(url))

    def ranges(name: str, offsets: Sequence[int], sizes: Sequence[int]) -> Any:
        asked_for.append(max(np.add(offsets, sizes)) - min(offsets))
        return real.ranges(name, offsets, sizes)

    counting: Any = Through(real, ranges=ranges)
    found: Any = machine("theirs", bucket=counting).get(key)
    rows = np.arange(0, 4096, 32)  # all gaps are fetched: they are smaller than another request is worth
    reader = found.reader(["code"])
    reader.read([0])
    monkeypatch.setattr(reading, "PORTION", 256 << 10)
    asked_for.clear()
    assert (reader.read(rows)["code"] == codes[rows]).all() and len(asked_for) > 4 and max(asked_for) <= reading.PORTION


def test_what_is_long_comes_in_pieces_each_a_request(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = S3Bucket(parse(url))
    contents = [(secrets.token_bytes(size), requests) for size, requests in ((0, 1), (999, 1), (1000, 2), (2500, 3))]
    for n, (content, _) in enumerate(contents):
        ours.write(f"a{n}", content)
    monkeypatch.setattr(bucket, "PIECE", 1000)
    asked_for: list[int] = []
    real = ours.ranges
    monkeypatch.setattr(ours, "ranges", lambda name, offsets, sizes: asked_for.append(sizes[0]) or real(name, offsets, sizes))
    for n, (content, requests) in enumerate(contents):
        asked_for.clear()
        assert b"".join(map(bytes, ours.stream(f"a{n}"))) == content and asked_for == [1000] * requests
    assert list(ours.stream("b")) == []


def test_a_transfer_that_is_slow_but_goes_on_is_waited_for_and_a_silent_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of our own: it answers in eight pauses, each far shorter than what counts as silence, all of them longer."""
    monkeypatch.setattr(bucket, "SILENCE", timedelta(seconds=3))
    monkeypatch.setattr(bucket, "RETRIES", 0)
    rest = threading.Event()

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            for name, value in (("Content-Length", "8"), ("ETag", '"x"'), ("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")):
                self.send_header(name, value)
            self.end_headers()
            for _ in range(8):
                rest.wait(60 if self.path.endswith("silent") else 0.5)
                with contextlib.suppress(OSError):
                    self.wfile.write(b"x")

        def do_PUT(self) -> None:
            rest.wait(60 if self.path.endswith("silent") else 4)  # as where it takes the body slowly: no answer begins
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("ETag", '"x"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("FABLOOM_S3_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        slow = S3Bucket(parse("s3://lab/x"))
        with ThreadPoolExecutor() as pool:
            read, written = pool.submit(slow.read, "slow"), pool.submit(slow.write, "slow", bytes(bucket.SHORT + 1))
            silent = [pool.submit(slow.read, "silent"), pool.submit(slow.write, "silent", b"x"), pool.submit(slow.create, "silent", b"x")]
            assert read.result() == (b"x" * 8, '"x"') and written.result() is None
            for one in silent:
                with pytest.raises(EnvironmentProblem):
                    one.result(timeout=30)
        rest.set()
        server.shutdown()


def test_a_damaged_object_is_never_another_value(machine: Open) -> None:
    ours = machine()
    made = commit(ours, "images", images())
    where = ours.upkeep.uploads()[made.key][0].where
    assert not ours.upkeep.verify().problems
    for name in names(ours.bucket, where):
        whole = b"".join(map(bytes, ours.bucket.stream(name)))
        for bad in (whole[:-1], bytes([whole[0] ^ 1]) + whole[1:], None):
            if bad is None:
                ours.bucket.delete([name])
            else:
                ours.bucket.write(name, bad)
            short = name.removeprefix(f"{where}/data.zarr/")
            assert [short in told for told in ours.upkeep.verify(made.key).problems[made.key]] == [True]
            with pytest.raises(DamagedArtifact):
                _everything(ours.get(made.key))
        ours.bucket.write(name, whole)
    assert (_everything(ours.get(made.key)) == pictures(5)).all()
    body, _ = ours.bucket.read(ours.place(made.key)) or (b"", "")
    for bad in (body[:-1], body.replace(b'"upload":"', b'"upload":"../', 1), b"{", b"[]"):
        ours.bucket.write(ours.place(made.key), bad)
        with pytest.raises(DamagedArtifact, match="--redo"):
            ours.get(made.key)
        assert made.key in ours.upkeep.verify().problems
    with ours.lock(made.key, ignore, never):
        ours.commit(*sealed(ours, "images"), replace=True)
    assert (_everything(ours.get(made.key)) == pictures(5)).all() and not ours.upkeep.verify().problems


def test_an_object_that_may_not_be_read_hides_no_other_and_a_bucket_that_is_gone_is_no_finding(machine: Open) -> None:
    """One that was put into an archive, say, or that a policy keeps back."""
    ours = machine()
    locked, other, sound = (commit(ours, name, images(seed)).key for seed, name in enumerate(("locked", "other", "sound")))
    where = {key: uploads[0].where for key, uploads in ours.upkeep.uploads().items()}
    ours.bucket.delete([next(name for name in names(ours.bucket, where[other]) if "/c/" in name)])
    refused, gone = {next(name for name in names(ours.bucket, where[locked]) if "/c/" in name)}, list[str]()
    bucket = ours.bucket

    def refusing(work: Callable[..., Any]) -> Callable[..., Any]:
        def call(name: str, *more: Any) -> Any:
            if name in refused or gone:
                raise EnvironmentProblem(f"access denied to '{name}'")
            return work(name, *more)

        return call

    doors = {name: refusing(getattr(bucket, name)) for name in ("read", "look", "ranges", "stream")}
    there = machine("there", bucket=Through(bucket, **doors))
    for place in (None, there.place(locked)):
        refused |= {place} if place else set()
        problems = there.upkeep.verify().problems
        assert set(problems) == {locked, other} and len(problems[locked]) == 1 and "access denied" in problems[locked][0]
        assert "missing" in problems[other][0]
    gone.append("all")
    with pytest.raises(EnvironmentProblem):
        there.upkeep.verify(sound)


def _everything(artifact: Any) -> Any:
    found = {name: artifact.array(name)[...] for name in sorted(artifact._reader.names())}
    assert artifact.attrs is not None
    return found["images"]


def test_what_is_made_again_leaves_nobody_with_a_mixture(machine: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SMALL", 0)
    ours, theirs = machine(), machine("theirs")
    key = commit(ours, "images", images(0, 400)).key
    opened: Any = theirs.get(key)
    rows = opened.images
    with ours.lock(key, ignore, never):
        ours.commit(*sealed(ours, "images", seed=1), replace=True)
    with pytest.raises(DamagedArtifact, match="made again"):
        rows[:]
    assert len(ours.upkeep.uploads()[key]) == 1 and (theirs.get(key).array("images")[...] == pictures(5, 1)).all()


# -------------------------------------------------------------------------------------------------------- doors and secrets


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3://lab@x/y",
        "s3://key:word@lab/x",
        "s3://lab/../x",
        "s3://lab/a//b",
        "s3://UPPER/x",
        "s3://lab/x?endpoint=y",
        "s3://lab/x#y",
        "s3://ab",
    ],
)
def test_a_url_that_is_no_bucket_or_says_more_is_refused(url: str) -> None:
    with pytest.raises(UserError) as told:
        fabloom.open_store(url)
    assert "word" not in str(told.value).replace("password", "")


@pytest.mark.parametrize(
    "given", ["http://192.0.2.7:9000", "https://key:word@host", "ftp://host", "host:9000", "http://", "https://h/?token=word"]
)
def test_an_endpoint_that_is_open_to_everybody_or_holds_a_secret_is_refused(url: str, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FABLOOM_S3_ENDPOINT", given)
    with pytest.raises(EnvironmentProblem, match="FABLOOM_S3_ENDPOINT") as told:
        fabloom.open_store(url)
    assert "word" not in str(told.value).replace("password", "")


def test_http_to_another_machine_is_taken_where_somebody_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ("http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost", "https://192.0.2.7/"):
        monkeypatch.setenv("FABLOOM_S3_ENDPOINT", given)
        assert endpoint() == given.rstrip("/")
    monkeypatch.setenv("FABLOOM_S3_ENDPOINT", "http://192.0.2.7:9000")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    assert endpoint() == "http://192.0.2.7:9000"


def test_a_bucket_that_is_not_there_and_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="no such bucket"):
        ObjectStore("s3://nobody/x", work=tmp_path / "w")
    monkeypatch.setenv("FABLOOM_S3_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(EnvironmentProblem, match="cannot be reached") as told:
        ObjectStore("s3://lab/x", work=tmp_path / "w")
    assert len(str(told.value).splitlines()) == 1 and "retries" in str(told.value) and not (tmp_path / "w").exists()


def test_a_fork_of_a_process_that_used_it_is_told_so(machine: Open) -> None:
    ours = machine()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ours.has(A)
        except EnvironmentProblem as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.close(writer)
    assert b"in no fork" in os.read(reader, 4096)
    os.waitpid(child, 0)
    os.close(reader)


def test_strangers_keep_their_prefix(machine: Open, url: str, tmp_path: Path) -> None:
    S3Bucket(parse(url)).write("thesis.docx", b"x")
    with pytest.raises(UserError, match=r"thesis\.docx"):
        machine()
    assert not (tmp_path / "ours").exists()
