"""Faults below Python: the kernel asks this process before every call of another one that changes a file, and is told what to answer.

    supervised(work, root, decide)      run `work()` in a forked process; `decide(n, call, path)` says what becomes of its n-th call

seccomp's user notification (Linux 5.5; no privilege, no compiler, no tracer): zarr's, torch's and SQLite's own writes are in it as much
as Python's, and so are those of threads and forks. A call is held until it is answered, so a kill comes before it, at that very moment.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

GO_ON = 0
"""Answer: the call goes through."""
KILL = -1
"""Answer: SIGKILL to the process group, before the call. Anything positive is the errno that the call returns instead."""

Decide = Callable[[int, str, str], int]

FD, PATH, AT = "fd", "path", "at"
HERE = -100
"""AT_FDCWD: the working folder, where a descriptor of a folder is asked for."""
CALLS = {
    "x86_64": {
        "write": (1, FD), "open": (2, PATH), "pwrite64": (18, FD), "writev": (20, FD), "fsync": (74, FD), "fdatasync": (75, FD),
        "truncate": (76, PATH), "ftruncate": (77, FD), "rename": (82, PATH), "mkdir": (83, PATH), "rmdir": (84, PATH), "creat": (85, PATH),
        "link": (86, PATH), "unlink": (87, PATH), "symlink": (88, PATH), "openat": (257, AT), "mkdirat": (258, AT), "unlinkat": (263, AT),
        "renameat": (264, AT), "linkat": (265, AT), "symlinkat": (266, AT), "fallocate": (285, FD), "pwritev": (296, FD),
        "renameat2": (316, AT), "copy_file_range": (326, FD),
    },
    "aarch64": {
        "write": (64, FD), "pwrite64": (68, FD), "writev": (66, FD), "fsync": (82, FD), "fdatasync": (83, FD), "truncate": (45, PATH),
        "ftruncate": (46, FD), "openat": (56, AT), "mkdirat": (34, AT), "unlinkat": (35, AT), "renameat": (38, AT), "linkat": (37, AT),
        "symlinkat": (36, AT), "fallocate": (47, FD), "pwritev": (70, FD), "renameat2": (276, AT), "copy_file_range": (285, FD),
    },
}  # fmt: skip
"""Calls that change files: number, and how the first arguments name the file."""
SECCOMP = {"x86_64": (317, 0xC000003E), "aarch64": (277, 0xC00000B7)}
"""Number of seccomp(2), and the architecture as the filter sees it."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

PR_SET_NO_NEW_PRIVS = 38
SET_MODE_FILTER, NEW_LISTENER = 1, 8
ALLOW, USER_NOTIF = 0x7FFF0000, 0x7FC00000
RECEIVE, SEND = 0xC0502100, 0xC0182101
CONTINUE = 1
LOAD, EQUAL, SET, RETURN = 0x20, 0x15, 0x45, 0x06


class Unavailable(OSError):
    """This kernel, or what confines this process, has no user notification."""


@dataclass
class Ending:
    """How a supervised process ended. `status` is as of waitpid's exit code: negative for a signal. `calls` went to its files."""

    status: int
    calls: int
    hung: bool
    faults: list[str]


def _filter(machine: str) -> bytes:
    """A BPF program: notify of the calls above, of opens only where they may write, allow all else."""
    _, arch = SECCOMP[machine]
    calls = {name: number for name, (number, _) in CALLS[machine].items()}
    plain = sorted(number for name, number in calls.items() if name not in ("open", "openat"))
    code = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, arch), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, 0)]
    for name, argument in (("open", 1), ("openat", 2)):
        if name in calls:
            code += [(EQUAL, 0, 4, calls[name]), (LOAD, 0, 0, 16 + 8 * argument), (SET, 0, 1, WRITING), (RETURN, 0, 0, USER_NOTIF)]
            code += [(RETURN, 0, 0, ALLOW)]
    for number in plain:
        code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, USER_NOTIF)]
    code += [(RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("=HBBI", *line) for line in code)


def _install() -> int:
    """Put the filter on this process, which has one thread, and return the descriptor that its calls are asked on."""
    machine = platform.machine()
    if machine not in SECCOMP or not hasattr(os, "fork"):
        raise Unavailable(errno.ENOSYS, f"no table of calls for {machine}")
    libc = ctypes.CDLL(None, use_errno=True)
    program = ctypes.create_string_buffer(_filter(machine))
    head = struct.pack("HxxxxxxQ", (len(program) - 1) // 8, ctypes.addressof(program))
    fprog = ctypes.create_string_buffer(head)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise Unavailable(ctypes.get_errno(), "prctl")
    handle: int = libc.syscall(SECCOMP[machine][0], SET_MODE_FILTER, NEW_LISTENER, fprog)
    if handle < 0:
        raise Unavailable(ctypes.get_errno(), "seccomp")
    return handle


def supervised(work: Callable[[], int], root: Path, decide: Decide, seconds: float = 120.0) -> Ending:
    """Run `work()` in a forked process group and end it with its result as exit code, asking `decide` about its calls below `root`.

    `decide(n, call, path)` gets n from 1, the call's name and the path that it changes, relative to `root`. After `seconds` the group is
    killed and `hung` says so. Raises Unavailable where the kernel cannot do this.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setpgid(0, 0)
            ours.close()
            try:
                handle = _install()
            except Unavailable as error:
                theirs.send(str(error.errno).encode())
                os._exit(1)
            socket.send_fds(theirs, [b"f"], [handle])
            os.close(handle)
            theirs.close()
            code = work()
        finally:
            os._exit(code)
    theirs.close()
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(child, child)
    message, handles, _, _ = socket.recv_fds(ours, 16, 1)
    ours.close()
    if not handles:
        os.waitpid(child, 0)
        raise Unavailable(int(message or b"0"), "seccomp user notification is not available here")
    try:
        return _Supervisor(child, handles[0], str(root), decide).run(seconds)
    finally:
        os.close(handles[0])


class _Supervisor:
    def __init__(self, child: int, handle: int, root: str, decide: Decide) -> None:
        self._child, self._handle, self._root, self._decide = child, handle, root, decide
        self._names = {number: (name, how) for name, (number, how) in CALLS[platform.machine()].items()}
        self._ending = Ending(0, 0, False, [])

    def run(self, seconds: float) -> Ending:
        end, ending = time.monotonic() + seconds, self._ending
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        gone = False
        while not gone:
            for _, events in poll.poll(20):
                if events & select.POLLIN:
                    self._answer()
                elif events & select.POLLHUP:
                    gone = True
            done, status = os.waitpid(self._child, os.WNOHANG) if not gone else os.waitpid(self._child, 0)
            if done:
                ending.status, gone = os.waitstatus_to_exitcode(status), True
            elif time.monotonic() > end:
                ending.hung = True
                self._kill()
        self._kill()  # what it has left behind
        return ending

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child, signal.SIGKILL)

    def _answer(self) -> None:
        request = array.array("B", bytes(80))
        try:
            fcntl.ioctl(self._handle, RECEIVE, request)
        except OSError:
            return  # it was killed meanwhile
        number, pid, _, call, _, _, *arguments = struct.unpack("=QIIiIQ6Q", request.tobytes())
        name, how = self._names[call]
        path = self._path(pid, how, arguments)
        verdict = GO_ON
        if path is not None:
            self._ending.calls += 1
            verdict = self._decide(self._ending.calls, name, path)
        if verdict != GO_ON:
            self._ending.faults.append(f"{name} {path}: {'SIGKILL' if verdict == KILL else errno.errorcode[verdict]}")
        if verdict == KILL:
            self._kill()
            return
        reply = struct.pack("=QqiI", number, 0, -verdict, 0 if verdict else CONTINUE)
        with contextlib.suppress(OSError):  # it was killed meanwhile
            fcntl.ioctl(self._handle, SEND, reply)

    def _path(self, pid: int, how: str, arguments: list[int]) -> str | None:
        """What the call changes, below the root; None for anything else."""
        try:
            if how == FD:
                found = _opened(pid, arguments[0])
            else:
                text = _text(pid, arguments[0] if how == PATH else arguments[1])
                found = text if text.startswith("/") else f"{_opened(pid, arguments[0] if how == AT else HERE)}/{text}"
        except OSError:
            return None
        return found[len(self._root) + 1 :] if found.startswith(self._root + "/") else None


def _opened(pid: int, handle: int) -> str:
    """The path of a descriptor of a process, or of its working folder."""
    number = ctypes.c_int(handle).value
    return str(Path(f"/proc/{pid}/{'cwd' if number == HERE else f'fd/{number}'}").readlink())


def _text(pid: int, address: int) -> str:
    """The zero-terminated text at an address of a process."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        found = b""
        while b"\0" not in found and len(found) < 4096:
            piece = memory.read(min(256, 4096 - (address + len(found)) % 4096))
            if not piece:
                break
            found += piece
    return os.fsdecode(found.partition(b"\0")[0])
