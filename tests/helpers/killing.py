"""Saves that are killed between two changes of names on disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

CHANGES = ("replace", "rename", "unlink", "rmdir")


class Killed(BaseException):
    """The process is gone."""


def killed_everywhere(save: Callable[[], object], prepare: Callable[[], object]) -> Iterator[int]:
    """Run `prepare` and `save` again and again, killed before the first change, the second …, until it ends alive.

    Yields the number of the change after each kill, when everything works again. Nothing is cleaned up after a kill.
    """
    for step in count(1):
        prepare()
        with pytest.MonkeyPatch.context() as patch:
            done = iter(range(step - 1))

            def changing(change, done=done):
                def change_or_die(*args, **kwargs):
                    if next(done, None) is None:
                        raise Killed
                    return change(*args, **kwargs)

                return change_or_die

            patch.setattr(shutil, "rmtree", changing(shutil.rmtree))
            for name in CHANGES:
                patch.setattr(os, name, changing(getattr(os, name)))
            try:
                save()
            except Killed:
                pass
            else:
                return
        yield step


def fresh_copy(source: Path, target: Path) -> None:
    """Make `target` a copy of the folder `source`."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
