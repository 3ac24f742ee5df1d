"""What a store in a bucket costs beside a local one, and what it keeps when machines race and die. No network: moto's server on loopback.

    pip install 'fabloom[s3]' 'moto[s3]' flask flask-cors
    python benchmarks/object_store.py [--rounds 7] [--keys 10000] [--races 100] [--parts costs races kills listing] [--json]

* commit of 64 images, commit of a model of 200 tensors, 100 hits (`has` and manifest), batches of 64 random rows, the model read: medians
  over the rounds of CPU seconds of this process and of wall seconds, and their ratios to the local folder. The server is another process:
  its own seconds are in the wall times. It is a Python server that keeps everything in memory: a real one answers in 10 to 50 ms;
* rows also through zarr-python on obstore, which verifies less;
* two writers: two processes make one artifact with different content at the same moment, again and again: winners, mixtures, leftovers;
* killed uploads: a process dies by SIGKILL in the midst of an upload: what is there afterwards, and after gc;
* listing: seconds for N keys, at a tenth and at all of --keys.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SERVER = """
import secrets, sys, threading
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer
plain, one = S3Response.put_object, threading.Lock()
def put_object(self):  # moto looks at the condition and writes without a lock: two could both be told that they were first
    with one:
        return plain(self)
S3Response.put_object = put_object
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://{}:{}".format(*server.get_host_and_port()), flush=True)
for line in sys.stdin:  # so many manifests, without a request for each
    for _ in range(int(line)):
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object("lab", f"many/manifests/{secrets.token_hex(20)}.json", b"{}")
    print("done", flush=True)
server.stop()
"""


@contextmanager
def s3() -> Iterator[Callable[[int], None]]:
    """A server in a process of its own, with a bucket `lab`; it ends with this one. Gives what fills the store s3://lab/many."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert server.stdin is not None and server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        urllib.request.urlopen(urllib.request.Request(f"{url}/lab", method="PUT")).read()
        os.environ |= {
            "FABLOOM_S3_ENDPOINT": url, "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1",
        }  # fmt: skip

        def fill_many(count: int) -> None:
            print(count, file=server.stdin, flush=True)
            assert server.stdout is not None and server.stdout.readline() == "done\n"

        yield fill_many
    finally:
        server.stdin.close()
        server.wait()


def fill(store: Any, name: str, write: Callable[[Any], Any]) -> str:
    """Commit what `write` writes under a key of its own."""
    from fabloom.testing.store.conformance import commit

    return commit(store, name, write).key


def measured(work: Callable[[], Any]) -> tuple[float, float]:
    """CPU seconds of this process and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def costs(rounds: int, folder: Path) -> dict[str, Any]:
    """{job: {"local"|"s3"|…: (CPU, wall) medians}}."""
    import numpy as np
    import torch

    from fabloom.kinds import ImageSet, Model, OfflineData, RowSpec
    from fabloom.storage.backends.local import LocalStore
    from fabloom.storage.backends.objects.store import ObjectStore

    torch.set_num_threads(1)
    stores: dict[str, Any] = {"local": LocalStore(folder / "local"), "s3": ObjectStore("s3://lab/costs", work=folder / "work")}
    chance = np.random.default_rng(0)
    images = chance.integers(0, 255, (64, 1, 64, 64), np.uint8)
    codes = chance.integers(-100, 100, (2048, 4, 32, 32)).astype(np.int8)
    state = {f"layer.{i}.weight": torch.randn(64, 16) for i in range(200)}

    def rows(ctx: Any) -> Any:
        writer = OfflineData.writer(ctx, count=2048, block=512, arrays={"code": RowSpec("int8", (4, 32, 32))})
        writer.append({"code": codes})
        return OfflineData.finish(ctx, writer, {})

    data = {name: store.get(fill(store, "rows", rows)) for name, store in stores.items()}
    readers = {name: found.reader(["code"]) for name, found in data.items()}
    models = {name: fill(store, "model", lambda ctx: Model.write(ctx, state, {})) for name, store in stores.items()}
    through = by_zarr(stores["s3"], data["s3"])
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}

    def note(job: str, name: str, work: Callable[[], Any]) -> None:
        found.setdefault(job, {}).setdefault(name, []).append(measured(work))

    for n in range(rounds):
        batch = np.random.default_rng(n).integers(0, 2048, 64)
        for name, store in sorted(stores.items(), reverse=bool(n % 2)):
            note("commit of 64 images", name, lambda s=store, n=n: fill(s, f"i{n}", lambda ctx: ImageSet.write(ctx, images)))
            note("commit of 200 tensors", name, lambda s=store, n=n: fill(s, f"m{n}", lambda ctx: Model.write(ctx, state, {})))
            note("100 hits", name, lambda s=store, k=models[name]: [(s.has(k), s.manifest(k)) for _ in range(100)])
            note("64 random rows of 4 KiB", name, lambda r=readers[name], batch=batch: r.read(batch))
            note("2048 rows in order", name, lambda d=data[name]: d.array("code")[...])
            note("200 tensors read", name, lambda s=store, k=models[name]: s.get(k).state())
        note("64 random rows of 4 KiB", "zarr-python on obstore", lambda batch=batch: through.oindex[batch])
        note("2048 rows in order", "zarr-python on obstore", lambda: through[:])
    return {
        job: {name: [round(statistics.median(values), 5) for values in zip(*taken, strict=True)] for name, taken in by.items()}
        for job, by in found.items()
    }


def by_zarr(store: Any, artifact: Any) -> Any:
    """The rows as zarr-python reads them."""
    import zarr
    from obstore.store import from_url
    from zarr.storage import ObjectStore as ZarrStore

    from fabloom.storage.backends.objects.publish import upload_of

    place = f"{store.url}/{upload_of(store.manifest(artifact.key))}/data.zarr"
    opened = from_url(place, endpoint=os.environ["FABLOOM_S3_ENDPOINT"], client_options={"allow_http": True})
    return zarr.open_group(ZarrStore(opened, read_only=True), mode="r")["code"]


def writer(url: str, folder: str, seed: int, race: int, barrier: Any, out: Any) -> None:
    """One of two machines that make the same artifact, each with other content."""
    import numpy as np

    from fabloom.kinds import ImageSet
    from fabloom.method import Context
    from fabloom.storage.backends.objects.store import ObjectStore
    from fabloom.testing.store.conformance import asked, facts

    store = ObjectStore(url, work=Path(folder))
    for n in range(race):
        staged = store.stage(asked(f"race{n}"))
        ImageSet.write(Context(staging=staged, seed=0, workdir=store.work(staged.key)), np.full((4, 1, 8, 8), seed, np.uint8))
        barrier.wait()
        out.put((n, seed, store.commit(staged, facts(f"race{n}", "ImageSet"))["digest"]))


def races(count: int, folder: Path) -> dict[str, int]:
    """Two writers, `count` times."""
    from fabloom.storage.backends.objects.store import ObjectStore
    from fabloom.testing.store.conformance import asked

    url, fresh = "s3://lab/races", multiprocessing.get_context("spawn")
    ObjectStore(url, work=folder / "races")
    barrier, out = fresh.Barrier(2), fresh.Queue()
    both = [fresh.Process(target=writer, args=(url, str(folder / f"w{seed}"), seed, count, barrier, out)) for seed in (1, 2)]
    for one in both:
        one.start()
    told: dict[int, set[str]] = {}
    for _ in range(2 * count):
        n, _, digest = out.get()
        told.setdefault(n, set()).add(digest)
    for one in both:
        one.join()
    store: Any = ObjectStore(url, work=folder / "races")
    pure = [set(store.get(asked(f"race{n}")).images[:].ravel().tolist()) for n in range(count)]
    return {
        "races": count, "with one winner that both were told": sum(len(digests) == 1 for digests in told.values()),
        "mixtures": sum(len(values) != 1 for values in pure), "won by the first": sum(values == {1} for values in pure),
        "uploads that nobody names": len(store.upkeep.unnamed()), "problems": len(store.upkeep.verify().problems),
    }  # fmt: skip


def dying(url: str, folder: str, after: int) -> None:
    """A machine that is killed in the midst of an upload."""
    from fabloom.storage.backends.objects.bucket import S3Bucket

    real, sent = S3Bucket.write, []

    def write(self: Any, name: str, content: Any) -> None:
        if "/data.zarr/" in name:
            sent.append(name)
            if len(sent) > after:
                os.kill(os.getpid(), signal.SIGKILL)
        real(self, name, content)

    S3Bucket.write = write  # type: ignore[method-assign]
    upload(url, folder)


def upload(url: str, folder: str) -> None:
    import torch

    from fabloom.kinds import Model
    from fabloom.storage.backends.objects.store import ObjectStore

    fill(ObjectStore(url, work=Path(folder)), "killed", lambda ctx: Model.write(ctx, {f"t{i}": torch.ones(8, 8) for i in range(12)}, {}))


def kills(folder: Path) -> list[dict[str, Any]]:
    """What is there after a SIGKILL at several places of an upload, and after the same machine comes back."""
    from fabloom.storage.backends.objects import upkeep
    from fabloom.storage.backends.objects.store import ObjectStore
    from fabloom.testing.store.conformance import asked

    fresh, found, key = multiprocessing.get_context("spawn"), [], asked("killed")
    for after in (0, 5, 20):
        url, work = f"s3://lab/killed{after}", folder / f"killed{after}"
        died = fresh.Process(target=dying, args=(url, str(work), after))
        died.start()
        died.join()
        other: Any = ObjectStore(url, work=folder / f"other{after}")
        seen = {
            "killed after objects": after,
            "signal": -int(died.exitcode or 0),
            "has": other.has(key),
            "lies there": len(list(other.bucket.list("objects"))),
        }
        with ObjectStore(url, work=work).lock(key, lambda who: None, lambda: False):
            seen["has after its machine came back"] = other.has(key)
        grace, upkeep.GRACE = upkeep.GRACE, -60.0
        removed, _ = other.upkeep.sweep()
        upkeep.GRACE = grace
        health = other.upkeep.verify()
        found.append({**seen, "swept after the grace": len(removed), "problems": len(health.problems), "leftovers": len(health.leftovers)})
    return found


def listing(count: int, folder: Path, fill_many: Callable[[int], None]) -> dict[str, Any]:
    """CPU and wall seconds for the keys of a store with so many; manifests stand alone, since a listing reads no content."""
    from fabloom.storage.backends.objects.store import ObjectStore

    found = {}
    store = ObjectStore("s3://lab/many", work=folder / "many")
    made = 0
    for size in (count // 10, count):
        fill_many(size - made)
        made = size
        cpu, wall = min(measured(lambda: sum(1 for _ in store.keys())) for _ in range(3))
        one = next(store.keys())
        found[str(size)] = {
            "cpu": round(cpu, 4),
            "wall": round(wall, 3),
            "resolve 8 characters": round(measured(lambda one=one: store.resolve(one[:8]))[1], 4),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--races", type=int, default=100)
    parser.add_argument("--parts", nargs="+", default=["costs", "races", "kills", "listing"])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"}
    with tempfile.TemporaryDirectory() as folder, s3() as fill_many:
        place = Path(folder)
        for part, work in (
            ("costs", lambda: costs(given.rounds, place)),
            ("races", lambda: races(given.races, place)),
            ("kills", lambda: kills(place)),
            ("listing", lambda: listing(given.keys, place, fill_many)),
        ):
            if part in given.parts:
                found[part] = work()
                if not given.json:
                    tell(part, found[part])
    if given.json:
        print(json.dumps(found, indent=1))
    else:
        print(found["machine"])


def tell(part: str, found: Any) -> None:
    """One part in words."""
    if part != "costs":
        print(part, json.dumps(found), flush=True)
        return
    for job, by in found.items():
        cpu, wall = by["local"]
        told = (
            f"{name}: CPU {own[0] * 1e3:.1f} ms ({own[0] / cpu:.1f}x), wall {own[1] * 1e3:.1f} ms ({own[1] / wall:.1f}x)"
            for name, own in by.items()
        )
        print(f"{job}\n  " + "\n  ".join(told), flush=True)


if __name__ == "__main__":
    main()
