"""Attack the package on this machine, over and over: `make attack`.

Checkpoints, galleries and indexes are changed at random, processes are killed while they write, disks are full, and
the Space is sent what nobody should send. Everything is drawn from seeds, so that a try that failed can be repeated
alone; nothing but loopback is asked.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path

import click

from attempts import Attack, Attempt, as_json

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PATIENCE = 60.0  # seconds in which a process begins, in addition to those of its first try
LEGEND = """
A try held if it ended in a clear error (refused) or in the right answer (answered). It failed if it ended otherwise,
if it opened a file outside its folder, or if it took more time or memory than its kind allows."""
PAUSE = 5.0  # seconds, in addition to those of a try, after which it hangs
# Kind -> where its class is; imported when it is asked for.
KINDS = {
    "mutations": "mutations:Mutations",
    "kills": "kills:Kills",
    "full-disk": "full_disk:FullDisk",
    "requests": "raw_requests:Requests",
    "uploads": "uploads:Uploads",
    "downloads": "downloads:Downloads",
}


def prepare_process(folder: Path) -> None:
    """Let this process and its children find the package, keep their caches in a folder, and ask no other host.

    Called before anything of the package is imported: libraries read the environment once.
    """
    for path in (HERE, HERE.parent / "helpers", ROOT):
        sys.path.insert(0, str(path))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent / "helpers"), str(ROOT)])
    os.environ |= {"HF_HOME": str(folder / "home"), "CMR_HUB_CACHE": str(folder / "cache")}
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "GRADIO_ANALYTICS_ENABLED": "0"}
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CMR_HUB_PREPARE": "0", "TQDM_DISABLE": "1"}
    # Processes that are killed leave semaphores behind.
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"


def quieten() -> None:
    """Turn off the progress bars and log messages of libraries."""
    import logging

    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    logging.disable(logging.ERROR)


def attack(kind: str, folder: Path, seeds: Iterable[int] | None = None, count: int | None = None) -> Iterator[Attempt]:
    """The tries of one kind, one after another, in a process of their own; one that hangs is ended.

    Args:
        kind: one of `KINDS`.
        folder: scratch space.
        seeds: of the tries; by default the first `count` numbers from 0.
        count: number of tries; by default as many as the kind defines.
    """
    limits = _class(kind)
    worker = None
    for seed in range(count or limits.tries) if seeds is None else seeds:
        worker = worker or Worker(kind, Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=folder)))
        attempt = worker.run(seed, limits.seconds)
        if not worker.is_alive:
            worker = None
        yield attempt
    if worker is not None:
        worker.close()


class Worker:
    """A process that makes the tries of one kind.

    Args:
        kind: one of `KINDS`.
        folder: scratch space.
    """

    def __init__(self, kind: str, folder: Path):
        self.kind = kind
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(kind, folder, theirs))
        self._process.start()
        self._has_begun = False
        theirs.close()

    def run(self, seed: int, seconds: float) -> Attempt:
        """Make the try of a seed; the process is ended if the try takes far more than `seconds`."""
        attempt = Attempt(self.kind, seed)
        seconds += PAUSE if self._has_begun else PATIENCE
        try:
            self._pipe.send(seed)
            while self._pipe.poll(seconds):
                attempt, is_over = self._pipe.recv()
                if is_over:
                    self._has_begun = True
                    return attempt
            attempt.failure = f"hung for more than {seconds:.0f} s"
        except (EOFError, OSError):
            attempt.failure = "the process ended"
        self.close(patience=0)
        return attempt

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def close(self, patience: float = PATIENCE) -> None:
        """End the process, by force after `patience` seconds."""
        self._pipe.close()
        self._process.join(patience)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _work(kind: str, folder: Path, pipe: Connection) -> None:
    """Make the tries whose seeds come through the pipe; send back what is being done, and how each ended."""
    quieten()
    with _class(kind)(folder / "tries") as prepared, suppress(EOFError):
        while True:
            pipe.send((prepared.run(pipe.recv(), tell=lambda attempt: pipe.send((attempt, False))), True))


def _class(kind: str) -> type[Attack]:
    module, _, name = KINDS[kind].partition(":")
    return getattr(import_module(module), name)


def table(attempts: Sequence[Attempt]) -> str:
    """Tries by kind and by what was attacked, as Markdown."""
    from cmr_hub.utils.markdown import markdown_table

    rows = []
    for kind in dict.fromkeys(attempt.kind for attempt in attempts):
        of_kind = [attempt for attempt in attempts if attempt.kind == kind]
        for group in sorted({attempt.group for attempt in of_kind}):
            rows.append(_row(kind, group, [attempt for attempt in of_kind if attempt.group == group]))
        rows.append(_row(kind, "all", of_kind))
    rows.append(_row("all", "all", attempts))
    return markdown_table(["kind", "target", "tries", "held", "failed", "refused", "answered", "seconds"], rows)


def _row(kind: str, group: str, attempts: Sequence[Attempt]) -> list[str]:
    failed = sum(attempt.failure is not None for attempt in attempts)
    ends = [sum(attempt.end == end for attempt in attempts) for end in ("refused", "answered")]
    seconds = sum(attempt.seconds for attempt in attempts)
    return [kind, group, *(f"{n:,}" for n in (len(attempts), len(attempts) - failed, failed, *ends)), f"{seconds:.1f}"]


@click.command(help=__doc__.split("\n\n")[0])
@click.option(
    "--only", multiple=True, type=click.Choice(list(KINDS)), help="Attack in this way only; may be given again."
)
@click.option("--seed", multiple=True, type=int, help="Repeat the try with this seed only; may be given again.")
@click.option("--tries", type=click.IntRange(1), help="Tries per kind; by default as many as each kind defines.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Also write every try to this file, as JSON."
)
def main(only: Sequence[str], seed: Sequence[int], tries: int | None, json_path: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="cmr-attack-", ignore_cleanup_errors=True) as scratch:
        prepare_process(Path(scratch))
        started, attempts = time.monotonic(), []
        for kind in only or KINDS:
            begun = time.monotonic()
            for attempt in attack(kind, Path(scratch), seed or None, tries):
                attempts.append(attempt)
                if attempt.failure is not None:
                    click.echo(
                        f"FAILED --only {kind} --seed {attempt.seed}: {attempt.what}: {attempt.failure[:250]}",
                        err=True,
                    )
            click.echo(f"{kind}: {time.monotonic() - begun:.0f} s", err=True)
        click.echo(table(attempts))
        click.echo(LEGEND)
        failed = [attempt for attempt in attempts if attempt.failure is not None]
        click.echo(f"\n{len(attempts):,} tries, {len(failed):,} failed, {time.monotonic() - started:.0f} s.")
        if json_path is not None:
            machine = {"python": platform.python_version(), "platform": platform.platform(), "cpus": os.cpu_count()}
            content = {"machine": machine, "tries": [as_json(attempt) for attempt in attempts]}
            json_path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
