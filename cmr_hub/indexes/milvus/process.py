"""The Milvus server of the PyPI package `milvus`, for as long as standard input stays open.

A program of its own, `python -P milvus_process.py FOLDER`, that needs nothing of this package: the server must end in
order whatever becomes of the process that wants it, and when that dies, even by `kill -9`, its end of the pipe closes.
It prints one JSON object: the server's address, or why there is none.
"""

import contextlib
import json
import os
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from filelock import FileLock, Timeout

START_SECONDS = 180
STOP_SECONDS = 3  # until it is killed: with collections loaded it would wait for another to take them over. Nothing
# is lost, since it writes down what it confirms.
SESSION_SECONDS = 10  # that the parts of a server which was killed count as alive, and keep the next from starting
LOCK_SECONDS = START_SECONDS + STOP_SECONDS
ADDRESS_NAME = "address.txt"
ETCD = """\
name: default
listen-client-urls: http://127.0.0.1:{client}
advertise-client-urls: http://127.0.0.1:{client}
listen-peer-urls: http://127.0.0.1:{peer}
initial-advertise-peer-urls: http://127.0.0.1:{peer}
initial-cluster: default=http://127.0.0.1:{peer}
"""


def main() -> None:
    """Lock the folder, start the server in it, say where it listens, and wait for the end of either side."""
    folder = Path(sys.argv[1])
    address_file = folder / ADDRESS_NAME
    lock = FileLock(folder / "server.lock")
    for _ in range(LOCK_SECONDS):
        try:
            lock.acquire(timeout=1)
            break
        except Timeout:  # its owner serves, is about to, or is stopping
            if address_file.exists():
                return say(taken=address_file.read_text())
    else:
        return say(error="another process holds the folder, and does not serve it")
    address_file.unlink(missing_ok=True)  # of an owner that had no time to
    try:
        server = started(folder)
    except Exception as error:  # the package raises whatever its own start runs into
        return say(error=str(error))
    signal.signal(signal.SIGTERM, lambda *_: server.server_proc.terminate())
    threading.Thread(target=stop_when_abandoned, args=[server, address_file], daemon=True).start()
    address = f"http://{server.server_address}:{server.listen_port}"
    part = address_file.with_suffix(".part")  # who sees the file finds all of the address in it
    part.write_text(address)
    part.replace(address_file)
    say(address=address)
    server.server_proc.wait()
    address_file.unlink(missing_ok=True)


def started(folder):
    """A server that answers.

    Raises:
        RuntimeError: it ended, or did not answer in time.
    """
    from milvus import MilvusServer

    server = MilvusServer(wait_for_started=False)
    server.set_base_dir(str(folder))
    keys = [key for key in server.config_keys if key.endswith("_port")]
    # By itself it counts up from fixed ports, and two that start at once collide; etcd in it would even insist on two.
    client, peer, server.webservice_port, *ports = free_ports(3 + len(keys))
    server.config.configs.update(zip(keys, ports, strict=True))
    etcd = folder / "etcd.yaml"
    etcd.write_text(ETCD.format(client=client, peer=peer))
    os.environ |= {"ETCD_CONFIG_PATH": str(etcd), "COMMON_SESSION_TTL": str(SESSION_SECONDS)}
    server.start()
    for _ in range(START_SECONDS):
        if server.server_proc.poll() is not None:
            raise RuntimeError(f"the server ended with status {server.server_proc.returncode} as it started")
        try:
            server.wait_started(timeout=1000)  # milliseconds
        except TimeoutError:
            continue
        return server
    server.server_proc.kill()
    raise RuntimeError(f"the server did not answer within {START_SECONDS} s")


def stop_when_abandoned(server, address_file):
    """Stop the server when standard input ends."""
    sys.stdin.read()
    address_file.unlink(missing_ok=True)
    server.server_proc.terminate()
    time.sleep(STOP_SECONDS)
    server.server_proc.kill()


def free_ports(count):
    """Ports that nobody listens on, none of those that systems give to outgoing connections."""
    ports = set()
    while len(ports) < count:
        with contextlib.suppress(OSError), socket.create_server(("", random.randrange(10_000, 32_000))) as probe:
            ports.add(probe.getsockname()[1])
    return list(ports)


def say(**answer):
    """Print one JSON object."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
