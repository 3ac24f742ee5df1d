"""Two hosts on one store, imitated: who sees whose locks, leases, pins and promotions, and what a dead or cut off host leaves behind.

    python benchmarks/two_hosts.py [--parts folder bucket] [--rounds 20] [--json]

A host is a process in namespaces of its own: network (its own loopback, a cable to the bucket's host where there is one), host name,
process ids, mounts, IPC. Linux, and the right to make namespaces: root, or unprivileged user namespaces; what is refused is told.

* folder: both have one folder, and nothing else, in common: kernel locks are those of one kernel. **It says nothing of NFS or another file
  system between machines**, whose locks come from a lock service of their own.
* bucket: no common folder; moto's server on a third host, and a cable from each to it. It needs 'moto[s3]', flask, flask-cors, obstore.

`tests/storage/test_two_hosts.py` runs the first part.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SPACES = ["unshare", "--net", "--uts", "--pid", "--ipc", "--fork", "--mount-proc", "--kill-child"]
KEY, LINE = "5" * 40, "etch"
PIPELINE = {"name": "both", "steps": {"images": {"task": "line-pair.simulate", "params": {"count": 64, "size": 32}}}}
SECONDS = 120.0
"""After these a host has lost its way."""
SERVER = """
import os, sys
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a line a request
from threading import Lock
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer
alone, put = Lock(), S3Response.put_object
def put_object(self):  # moto looks at the condition, then writes: two threads may both find it true, which no S3 allows
    with alone:
        return put(self)
S3Response.put_object = put_object
server = ThreadedMotoServer(ip_address="0.0.0.0", port=9000, verbose=False)
server.start()
print('"up"', flush=True)
sys.stdin.read()
server.stop()
"""


# ------------------------------------------------------------------------------------------------------------------ inside a host


class Agent:
    """What a host is asked to do, by name; every answer is plain JSON data."""

    def __init__(self, url: str) -> None:
        from fabloom.flows.run.api import open_store
        from fabloom.registry import Registry

        self.registry = Registry.load()
        self.store: Any = open_store(url, self.registry)
        self.held: dict[str, contextlib.ExitStack] = {}

    def who(self) -> dict[str, Any]:
        """Name, own process id, other processes that can be seen, addresses."""
        seen = [path for path in Path("/proc").iterdir() if path.name.isdecimal()]
        addresses = sorted(
            f"{link['ifname']} {one['local']}"
            for link in json.loads(subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, text=True, check=True).stdout)
            for one in link["addr_info"]
        )
        return {"host": socket.gethostname(), "pid": os.getpid(), "processes": len(seen), "addresses": addresses}

    def serve(self) -> int:
        """A port on this host's loopback that answers nobody but itself."""
        self.listener = socket.create_server(("127.0.0.1", 0))
        return int(self.listener.getsockname()[1])

    def reach(self, port: int) -> str:
        """Whether that port can be reached from here."""
        try:
            socket.create_connection(("127.0.0.1", port), 2).close()
        except OSError as error:
            return type(error).__name__
        return "reached"

    def hold(self, what: str, key: str = KEY) -> Any:
        """Hold the key, the line, or pin the key, until `let_go`; what is told instead where somebody else has it."""
        from fabloom.flows.production import line

        stack, seen = contextlib.ExitStack(), list[str]()
        began = time.monotonic()
        if what == "line":
            told: Any = stack.enter_context(line.at_work(self.store, LINE, "nightly"))
        elif what == "pin":
            told = stack.enter_context(self.store.pinned([key]))
        else:
            asked = iter([False] * 4)
            got = stack.enter_context(self.store.lock(key, seen.append, lambda: next(asked, True)))
            told = "" if got else f"waited for {seen[0]!r}" if seen else "waited"
        if told:
            stack.close()
        else:
            self.held[what] = stack
        return told or f"held after {time.monotonic() - began:.1f} s"

    def let_go(self, what: str) -> None:
        """The end of `hold`."""
        self.held.pop(what).close()

    def commit(self, name: str, value: int) -> dict[str, Any]:
        """Four images of a grey level under a key of that name."""
        import numpy as np

        from fabloom.kinds import ImageSet
        from fabloom.testing.store.conformance import asked, facts

        staged = self.store.stage(asked(name))
        ImageSet.write(self._context(staged), np.full((4, 1, 8, 8), value, np.uint8))
        manifest = self.store.commit(staged, facts(name, "ImageSet"))
        return {"key": staged.key, "digest": manifest["digest"]}

    def _context(self, staged: Any) -> Any:
        from fabloom.method import Context

        return Context(staging=staged, seed=0, workdir=self.store.work(staged.key))

    def rows(self, blocks: int) -> int:
        """Go on with an artifact of 8 blocks of rows for so many of them, uncommitted; gives the row at which it went on."""
        import numpy as np

        from fabloom.kinds import RowSpec

        staged = self.store.stage(KEY)
        writer = staged.rows(8 * 512, 512, {"code": RowSpec("int8", (16,))})
        start = writer.start
        for _ in range(blocks):
            writer.append({"code": np.ones((512, 16), np.int8)})
        return int(start)

    def collect(self) -> list[str]:
        """`gc --unreferenced` of everything, however new."""
        keys, _ = self.store.upkeep.collect(-1.0)
        return list(keys)

    def has(self, key: str) -> str:
        """Whether the artifact is there, or what is told instead, and after how long."""
        from fabloom.errors import FabloomError

        began = time.monotonic()
        try:
            found = str(self.store.has(key))
        except FabloomError as error:
            found = f"exit code {error.exit_code}: {' '.join(str(error).split())[:90]}"
        return f"{found}, after {time.monotonic() - began:.1f} s"

    def promote(self, key: str, expected: str, at: float) -> str:
        """Set the champion at that second of the common clock."""
        from fabloom.errors import RefMoved

        time.sleep(max(0.0, at - time.time()))
        try:
            self.store.refs.set(f"{LINE}/champion", key, expected=expected, why=f"by {socket.gethostname()}")
        except RefMoved:
            return "moved"
        return "won"

    def champion(self) -> str:
        """The key that is promoted."""
        return str(self.store.refs.get(f"{LINE}/champion"))

    def log(self) -> list[str]:
        """Who promoted, oldest first."""
        return [entry.why for entry in self.store.refs.log(f"{LINE}/champion")]

    def run(self, seed: int, at: float) -> dict[str, Any]:
        """`fabloom run` of one step that both are asked for."""
        from fabloom.flows.run import api

        told: list[str] = []
        time.sleep(max(0.0, at - time.time()))
        result = api.run(
            {**PIPELINE, "seed": seed}, store=self.store, registry=self.registry, device="cpu",
            emit=lambda event: told.append(str(event["message"])) if event["event"] == "log" else None,
        )  # fmt: skip
        (step,) = result.steps
        return {"status": step.status, "digest": step.digest, "waited": [line for line in told if "wait" in line.lower()]}


def serve_requests(url: str) -> None:
    """Answer requests, one a line, until there are none."""
    agent = Agent(url)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        name, given = json.loads(line)
        print(json.dumps(getattr(agent, name)(**given)), flush=True)


# ----------------------------------------------------------------------------------------------------------------- outside of them


class Host:
    """A process in namespaces of its own, with a folder of its own for whatever a machine keeps to itself."""

    def __init__(self, name: str, own: Path, arguments: list[str], environment: dict[str, str] | None = None) -> None:
        own.mkdir(parents=True, exist_ok=True)
        places = {"HOME": str(own), "TMPDIR": str(own), "XDG_CACHE_HOME": str(own / "cache"), "FABLOOM_WORK_DIR": str(own / "work")}
        entry = f'hostname {name} && ip link set lo up && echo 0 && read ready && exec "$@"'
        mapped = [] if os.geteuid() == 0 else ["--map-root-user"]
        self.name = name
        self.process = subprocess.Popen(
            [*SPACES, *mapped, "sh", "-c", entry, "sh", sys.executable, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **places, **(environment or {})},
        )  # fmt: skip

        assert self.answer() == 0, "its namespaces are made"

    def begin(self) -> Any:
        """Let it go on, once its cables are plugged in."""
        self.send("")
        return self.answer()

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        timer = threading.Timer(SECONDS, self.kill)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise SystemExit(f"{self.name} ended with {self.process.wait()}")
        return json.loads(line)

    def ask(self, name: str, /, **given: Any) -> Any:
        """A request and its answer."""
        self.send(json.dumps([name, given]))
        return self.answer()

    def kill(self) -> None:
        """The plug is pulled: no process of the host lives on."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def inside(self, *command: str) -> None:
        """A command in the host's network."""
        subprocess.run(["nsenter", "-t", str(self.process.pid), "-n", *command], check=True)


def allowed() -> str:
    """'' where namespaces can be made, else what was refused."""
    mapped = [] if os.geteuid() == 0 else ["--map-root-user"]
    try:
        done = subprocess.run(
            [*SPACES, *mapped, "sh", "-c", "hostname x && ip link set lo up"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        return f"there is no '{error.filename}' here"
    return "" if done.returncode == 0 else f"{' '.join(SPACES)}: {done.stderr.strip()}"


def both(first: Host, second: Host, name: str, given: list[dict[str, Any]]) -> list[Any]:
    """A request to each at the same moment, and their answers."""
    at = time.time() + 0.3
    for host, one in zip((first, second), given, strict=True):
        host.send(json.dumps([name, {**one, "at": at}]))
    return [first.answer(), second.answer()]


@contextlib.contextmanager
def hosts(place: Path, urls: dict[str, str], environment: Callable[[str], dict[str, str]], plug: Callable[[Host], None]) -> Iterator[Any]:
    """Makes a host by name; all end with the block."""
    made: list[Host] = []

    def make(name: str) -> Host:
        host = Host(name, place / name, [__file__, "--agent", urls[name]], environment(name))
        made.append(host)
        plug(host)
        assert host.begin() == "ready"
        return host

    try:
        yield make
    finally:
        for host in made:
            host.end()


def folder(place: Path, rounds: int) -> dict[str, Any]:
    """One folder, two hosts."""
    url = str(place / "shared")
    with hosts(place, {"host-a": url, "host-b": url}, lambda name: {}, lambda host: None) as make:
        a, b = make("host-a"), make("host-b")
        found = {"who": [a.ask("who"), b.ask("who")], "the other's loopback": b.ask("reach", port=a.ask("serve"))}
        a.ask("hold", what="key")
        found["key held by a, asked by b"] = b.ask("hold", what="key")
        a.ask("let_go", what="key")
        a.ask("hold", what="line")
        found["line held by a, asked by b"] = b.ask("hold", what="line")
        found |= together(a, b, rounds)
        needed, found["b's collector takes"] = pins(a, b)
        a.ask("hold", what="key")
        a.ask("rows", blocks=3)
        a.kill()
        began = time.monotonic()
        found["key after a died"] = b.ask("hold", what="key")
        found["line after a died"] = b.ask("hold", what="line")
        found["seconds"] = round(time.monotonic() - began, 2)
        found["a's three blocks of 512 rows, b goes on at row"] = b.ask("rows", blocks=0)
        found["b's collector takes, after a died, what a's run pinned"] = needed in b.ask("collect")
    return found


def together(a: Host, b: Host, rounds: int) -> dict[str, Any]:
    """What both kinds of store have to keep: promotions by compare-and-set, one artifact a key."""
    last = a.ask("commit", name="one", value=1)["key"]
    a.ask("promote", key=last, expected="", at=0.0)
    found: dict[str, Any] = {}
    ends = []
    for n in range(rounds):
        keys = [host.ask("commit", name=f"{host.name}{n}", value=n)["key"] for host in (a, b)]
        ends.append(" ".join(sorted(both(a, b, "promote", [{"key": key, "expected": last} for key in keys]))))
        last = b.ask("champion")
    found["promotions against one champion, as both were told"] = {told: ends.count(told) for told in sorted(set(ends))}
    found["in the log, by"] = {name: sum(why == f"by {name}" for why in b.ask("log")[1:]) for name in ("host-a", "host-b")}
    runs = [both(a, b, "run", [{"seed": n}] * 2) for n in range(3)]
    found["one step asked by both at once"] = [sorted(one["status"] for one in pair) for pair in runs]
    found["equal digests"] = all(pair[0]["digest"] == pair[1]["digest"] for pair in runs)
    found["told meanwhile"] = sorted({line for pair in runs for one in pair for line in one["waited"]})
    return found


def bucket(place: Path, rounds: int) -> dict[str, Any]:
    """A bucket on a third host, and no common folder. The cable of one is pulled, and plugged in again."""
    store = Host("bucket", place / "bucket", ["-c", SERVER])
    try:
        nets = {"host-a": 1, "host-b": 2}

        def plug(host: Host) -> None:
            net = nets[host.name]
            wires = ["ip", "link", "add", "wire0", "netns", str(host.process.pid), "type", "veth", "peer", "name", f"wire{net}"]
            subprocess.run([*wires, "netns", str(store.process.pid)], check=True)
            for one, name, address in ((host, "wire0", f"10.77.{net}.2/24"), (store, f"wire{net}", f"10.77.{net}.1/24")):
                one.inside("ip", "addr", "add", address, "dev", name)
                one.inside("ip", "link", "set", name, "up")

        def environment(name: str) -> dict[str, str]:
            door = f"http://10.77.{nets[name]}.1:9000"
            keys = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1"}
            return {"FABLOOM_S3_ENDPOINT": door, "AWS_ALLOW_HTTP": "true", **keys}

        assert store.begin() == "up"
        make_bucket(store)
        url = "s3://lab/two"
        with hosts(place, {"host-a": url, "host-b": url}, environment, plug) as make:
            a, b = make("host-a"), make("host-b")
            found = {"who": [a.ask("who"), b.ask("who")], "the other's loopback": b.ask("reach", port=a.ask("serve"))}
            a.ask("hold", what="key")
            found["key held by a, asked by b"] = b.ask("hold", what="key")
            a.ask("hold", what="line")
            found["line held by a, asked by b"] = b.ask("hold", what="line")
            found |= together(a, b, rounds)
            races = [[host.ask("commit", name=f"race{n}", value=value) for host, value in ((a, 1), (b, 2))] for n in range(3)]
            found["two contents of one key, one digest told"] = all(one["digest"] == other["digest"] for one, other in races)
            key = races[0][0]["key"]
            a.inside("ip", "link", "set", "wire0", "down")
            found["a, its cable pulled"] = a.ask("has", key=key)
            found["b meanwhile"] = b.ask("has", key=key)
            a.inside("ip", "link", "set", "wire0", "up")
            found["a, plugged in again"] = a.ask("has", key=key)
            needed, found["b's collector takes"] = pins(a, b)
            a.kill()
            found["b's collector takes, after a died, what a's run pinned"] = needed in b.ask("collect")
    finally:
        store.kill()
    return found


def pins(a: Host, b: Host) -> tuple[str, dict[str, bool]]:
    """The key that a run of a's pins, and whether b's collector takes it, and one that nobody needs."""
    needed, loose = (a.ask("commit", name=name, value=1)["key"] for name in ("needed", "loose"))
    a.ask("hold", what="pin", key=needed)
    gone = b.ask("collect")
    return needed, {"what a's run pins": needed in gone, "what nobody needs": loose in gone}


def make_bucket(store: Host) -> None:
    """`lab`, made from within the server's own host."""
    code = "import urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:9000/lab', method='PUT')).read()"
    store.inside(sys.executable, "-c", code)


PARTS: dict[str, Callable[[Path, int], dict[str, Any]]] = {"folder": folder, "bucket": bucket}


def main() -> None:
    """Run the parts and tell what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=20, help="promotions that race")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--agent", metavar="URL", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.agent:
        serve_requests(given.agent)
        return
    refused = allowed()
    if refused:
        raise SystemExit(f"hosts cannot be imitated here: {refused}")
    found: dict[str, Any] = {}
    for part in given.parts:
        with tempfile.TemporaryDirectory(prefix="fabloom-hosts-") as place:
            found[part] = PARTS[part](Path(place), given.rounds)
    if given.json:
        print(json.dumps(found, indent=1))
        return
    for part, seen in found.items():
        print(part)
        for what, value in seen.items():
            print(f"  {what}: {value if isinstance(value, str) else json.dumps(value)}")


if __name__ == "__main__":
    main()
