"""A Milvus server on this machine, where no cluster's address is given."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from cmr_hub.errors import ServerError
from cmr_hub.utils.files import cache_folder

from . import process as milvus_process


@dataclass(frozen=True)
class _Server:
    process: subprocess.Popen[str]
    address: str


_servers: dict[Path, _Server] = {}  # folder -> the server of this process in it


def local_address(folder: str | os.PathLike | None = None) -> str:
    """Where the server whose data lie in a folder listens; it is started if it does not run.

    A process has one server a folder, and starts it in some eight seconds, or in half a minute where the folder was
    used just before. It is stopped when the process ends, however that comes about; the data stay. A folder has one
    process: another one is told the address, and may use it for as long as the first lives. The server wants no
    password and listens on all of the machine's interfaces, as the package makes it: it is for one's own machine,
    behind a firewall.

    Args:
        folder: receives the data, logs, and 400 MB of program files; by default `milvus` in the cache folder.

    Raises:
        ServerError: the package `milvus` is missing, another process serves the folder, or the server does not start.
    """
    folder = Path(cache_folder("milvus") if folder is None else folder).absolute()
    server = _servers.get(folder)
    if server is None or server.process.poll() is not None:
        server = _servers[folder] = _start(folder)
    return server.address


def stop_local_servers() -> None:
    """Stop all servers of this process, as its end does."""
    while _servers:
        _stop(_servers.popitem()[1].process)


atexit.register(stop_local_servers)


def _start(folder: Path) -> _Server:
    if find_spec("milvus") is None:
        raise ServerError(
            "No address was given, and the package that has a Milvus server for this machine is missing: "
            'pip install "cmr-hub[milvus]", or pass the address of a cluster.'
        )
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-P", milvus_process.__file__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # Ctrl+C is for the owner: the server must outlive it to be stopped in order
    )
    assert process.stdout is not None
    try:
        answer = json.loads(process.stdout.readline() or '{"error": "its process ended"}')
    except BaseException:
        _stop(process)
        raise
    if "address" in answer:
        return _Server(process, answer["address"])
    _stop(process)
    if "taken" in answer:
        raise ServerError(
            f"Another process serves the folder {folder}: pass address={answer['taken']!r} to use its server while it "
            "lives, or another folder."
        )
    raise ServerError(
        f"The Milvus server in {folder} did not start: {answer['error']}. Its logs are in {folder / 'logs'}."
    )


def _stop(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
