"""Send hostile files to one's own gallery in the Space: a clear message, or a good gallery of what is good in them."""

from __future__ import annotations

import csv
import io
import os
import random
import stat
import struct
import tarfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from attempts import ANSWERED, REFUSED, Attack, Attempt, Failure
from cmr_hub.errors import CMRError
from cmr_hub.space.services import received_files, user_galleries
from cmr_hub.space.services.catalogue import Catalogue
from cmr_hub.space.services.user_galleries import UserGalleries
from saved import pixel_retriever

PAUSE = 0.01
INTERNAL = "Something went wrong"
File = tuple[str, bytes]  # how the sender calls it, and its content


class Uploads(Attack):
    """Hostile zips, images and tables."""

    name = "uploads"
    tries = 120
    seconds = 40.0
    megabytes = 1000

    def canary_files(self) -> Mapping[str, bytes]:
        return {"image.png": picture("purple"), "secret.csv": b"file_name,text\nimage.png,a secret\n"}

    def prepare(self) -> None:
        # Whatever checkpoint is chosen, a small one embeds.
        self.resources.enter_context(patch.object(user_galleries, "load_retriever", lambda *_: pixel_retriever(0)))
        self.received = self.folder.resolve() / "received"
        self.resources.enter_context(patch.dict(os.environ, {received_files.VARIABLE: str(self.received)}))
        self.galleries = UserGalleries(Catalogue(["emoji"]))
        self.resources.callback(self.galleries.close)
        self.ways: list[Callable[[random.Random], list[File]]] = [
            *(self.zip_bomb, self.nested_bombs, self.overlapping, self.traversal, self.symlinks, self.inside_zip),
            *(self.tar, self.encrypted, self.damaged_zip, self.equal_names, self.odd_names, self.many_files),
            *(self.lying_sizes, self.huge_picture, self.drawing, self.polyglot, self.wrong_endings, self.broken),
            *(self.odd_pictures, self.huge_cells, self.formulas, self.table_paths, self.two_tables, self.odd_table),
            self.nothing_wrong,
        ]

    def attempt(self, random: random.Random, attempt: Attempt) -> str:
        way = self.ways[attempt.seed % len(self.ways)]
        files = way(random)
        names = ", ".join(ascii(name)[:60] for name, _ in files[:4])
        attempt.does(way.__name__.replace("_", " "), f"{len(files)} files: {names}")
        session = f"session-{attempt.seed}"
        try:
            self.galleries.build(session, self._sent(files))
            while (own := self.galleries[session]) is not None and own.progress.is_active:
                time.sleep(PAUSE)
            end = self._judge(own)
        except CMRError as error:
            self._check_message(str(error))
            end = REFUSED
        finally:
            self.galleries.forget(session)
        self._check_left()
        if way == self.nothing_wrong and end == REFUSED:
            raise Failure("good images are refused")
        return end

    def _sent(self, files: list[File]) -> list[dict[str, str]]:
        """The files as Gradio gives them to a function."""
        folder = received_files.new_folder()
        sent = []
        for number, (name, content) in enumerate(files):
            path = folder / str(number)
            path.write_bytes(content)
            sent.append({"path": str(path), "orig_name": name})
        return sent

    def _judge(self, own: Any) -> str:
        if own is None:
            raise Failure("the gallery is gone")
        if own.progress.state == "failed":
            self._check_message(own.progress.message)
            return REFUSED
        gallery = own.gallery
        for row in range(len(gallery)):
            if gallery.image(row) is None:
                raise Failure(f"item {gallery.ids[row]!r} has no image")
        hits = gallery.search(item=gallery.ids[0], source="image", target="image", k=min(3, len(gallery) - 1))
        if not all(np.isfinite(hit.score) and abs(hit.score) < 1.001 for hit in hits):
            raise Failure(f"scores {[hit.score for hit in hits]}")
        return ANSWERED

    def _check_message(self, message: str) -> None:
        if INTERNAL in message or len(message) < 20:
            raise Failure(f"refused without a reason: {message!r}")
        if str(self.galleries.root) in message or received_files.UPLOAD in message:
            raise Failure(f"the message tells a path of the server: {message}")

    def _check_left(self) -> None:
        roots = self.galleries.root, self.received
        left = [path for root in roots for path in root.rglob("*") if path.is_file()]
        if left:
            raise Failure(f"left behind: {left[0]}")

    def nothing_wrong(self, random: random.Random) -> list[File]:
        if random.random() < 0.5:
            return [("good.zip", archive(pictures()))]
        table = rows([["file_name", "text"], *([name, "a text"] for name in pictures())])
        return [("metadata.csv", table), *pictures().items()]

    def zip_bomb(self, random: random.Random) -> list[File]:
        size = random.choice([30_000_000, 300_000_000])
        return [("bomb.zip", archive({"a.png": bytes(size), **pictures()}))]

    def nested_bombs(self, random: random.Random) -> list[File]:
        inner = archive({"a.png": bytes(20_000_000)})
        return [
            ("bombs.zip", archive({f"{n}.{random.choice(['zip', 'png'])}": inner for n in range(50)} | pictures()))
        ]

    def overlapping(self, random: random.Random) -> list[File]:
        """Entries that share one compressed content, so that little grows to much."""
        content = bytearray(archive({"a.png": bytes(10_000_000)}))
        end = content.rindex(b"PK\x05\x06")
        start = struct.unpack_from("<I", content, end + 16)[0]
        entry, count = bytes(content[start:end]), random.choice([400, 4000])
        entries = b"".join(entry.replace(b"a.png", f"{n:05}"[-5:].encode()) for n in range(count))
        tail = bytearray(content[end:])
        struct.pack_into("<HHI", tail, 8, count, count, len(entries))
        return [("overlap.zip", bytes(content[:start]) + entries + bytes(tail))]

    def traversal(self, random: random.Random) -> list[File]:
        secret = str(self.canary.folder)
        names = [f"../../../../../../../..{secret}/new.png", f"{secret}/new.png", "..\\..\\new.png", "a/../../b.png"]
        return [("up.zip", archive({random.choice(names): picture("red"), random.choice(names): b"x"} | pictures()))]

    def symlinks(self, random: random.Random) -> list[File]:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            link = zipfile.ZipInfo(random.choice(["link.png", "folder", "metadata.csv"]))
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            target = self.canary.folder if link.filename == "folder" else random.choice(self.canary.paths)
            file.writestr(link, str(target))
            file.writestr("folder/image.png", picture("red"))
            for name, content in pictures().items():
                file.writestr(name, content)
        return [("links.zip", buffer.getvalue())]

    def inside_zip(self, random: random.Random) -> list[File]:
        content = archive(pictures())
        for _ in range(random.choice([1, 20])):
            content = archive({"inner.zip": content})
        return [("onion.zip", content)]

    def tar(self, random: random.Random) -> list[File]:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as file:
            link = tarfile.TarInfo("image.png")
            link.type, link.linkname = tarfile.SYMTYPE, str(self.canary.paths[0])
            file.addfile(link)
        return [(random.choice(["a.tar.gz", "a.zip", "a.png"]), buffer.getvalue())]

    def encrypted(self, random: random.Random) -> list[File]:
        content = bytearray(archive(pictures()))
        for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            at = content.find(mark)
            while at >= 0:
                content[at + offset] |= 1
                at = content.find(mark, at + 4)
        return [("secret.zip", bytes(content))]

    def damaged_zip(self, random: random.Random) -> list[File]:
        content = bytearray(archive(pictures()))
        for _ in range(random.choice([1, 10, 200])):
            content[random.randrange(len(content))] = random.randrange(256)
        return [("damaged.zip", bytes(content[: random.choice([len(content), len(content) // 2])]))]

    def equal_names(self, random: random.Random) -> list[File]:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            for name in ("a.png", "A.png", "a.png", "x/a.png", "a.png/b.png", "x", "ä.png", "a\u0308.png"):
                with warnings.catch_warnings(action="ignore"):
                    file.writestr(name, picture(random.choice(["red", "green", "blue"])))
        return [("equal.zip", buffer.getvalue()), ("a.png", picture("red")), ("a.png", picture("blue"))]

    def odd_names(self, random: random.Random) -> list[File]:
        names = [
            "a\x00b.png",
            "CON.png",
            "\u202egnp.exe",
            "x" * 250 + ".png",
            "<img src=x>.png",
            " .png",
            "\n.png",
            "😀.png",
        ]
        return [(name, picture("red")) for name in random.sample(names, 4)] + list(pictures().items())

    def many_files(self, random: random.Random) -> list[File]:
        count = random.choice([1_200, 6_000, 70_000])
        return [("many.zip", archive({f"{n}.{random.choice(['png', 'txt'])}": b"x" for n in range(count)}))]

    def lying_sizes(self, random: random.Random) -> list[File]:
        """An entry that says it is small, and is not; or the other way round."""
        content = bytearray(archive({"a.png": bytes(5_000_000), **pictures()}))
        at = content.find(b"PK\x01\x02")
        struct.pack_into("<I", content, at + 24, random.choice([10, 2**32 - 2, 0]))
        return [("liar.zip", bytes(content))]

    def huge_picture(self, random: random.Random) -> list[File]:
        width, height = random.choice([(8000, 8000), (60_000, 60_000), (2**31 - 1, 1), (1, 64_000_000)])
        colour = random.choice([2, 6])
        row = bytes(1 + width * (3 if colour == 2 else 4)) if width * height <= 64_000_000 else b"\0"
        packer = zlib.compressobj(9)
        data = b"".join(packer.compress(row * 8) for _ in range(min(height, 8000) // 8)) + packer.flush()
        chunks = [
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)),
            (b"IDAT", data),
            (b"IEND", b""),
        ]
        png = b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )
        return [(f"{n}.png", png) for n in range(3)]

    def drawing(self, random: random.Random) -> list[File]:
        svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{self.canary.paths[0]}"/></svg>'.encode()
        eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n"
        content = random.choice([svg, eps, b"<?xml version='1.0'?><!DOCTYPE a SYSTEM 'file:///etc/passwd'>" + svg])
        return [(random.choice(["a.svg", "a.png", "a.jpg"]), content), *pictures().items()]

    def polyglot(self, random: random.Random) -> list[File]:
        """An image and a zip at once."""
        both = picture("red") + archive({"../x.png": b"x", "metadata.csv": b"file_name,text\n"})
        return [(random.choice(["both.png", "both.zip", "both.csv"]), both), *pictures().items()]

    def wrong_endings(self, random: random.Random) -> list[File]:
        table = b"file_name,text\nred.png,red\n"
        return [("a.png", table), ("metadata.csv", picture("red")), ("b.zip", picture("red")), *pictures().items()]

    def broken(self, random: random.Random) -> list[File]:
        whole = picture("red")
        return [
            *pictures().items(),
            ("cut.png", whole[: len(whole) // 2]),
            ("none.png", b""),
            ("noise.jpg", random.randbytes(5000)),
        ]

    def odd_pictures(self, random: random.Random) -> list[File]:
        """Pictures of kinds that are rare, and of whole files with broken ends."""
        made = []
        for mode, kind in (
            ("1", "PNG"),
            ("P", "GIF"),
            ("CMYK", "JPEG"),
            ("I;16", "PNG"),
            ("F", "TIFF"),
            ("LA", "PNG"),
        ):
            file = io.BytesIO()
            Image.new(mode, (20, random.choice([1, 20, 900]))).save(file, kind)
            made.append((f"{mode.replace(';', '')}.{kind.lower()}", file.getvalue()))
        return made

    def huge_cells(self, random: random.Random) -> list[File]:
        cell = random.choice(["x" * 3_000_000, "a, " * 200_000, '"' * 100_001, "\n" * 500_000])
        return [("metadata.csv", rows([["file_name", "text"], ["red.png", cell]])), *pictures().items()]

    def formulas(self, random: random.Random) -> list[File]:
        cells = [
            "=cmd|' /C calc'!A0",
            "<script>alert(1)</script>",
            "\x00\x07",
            "\u202e",
            "x" * 2001,
            "{{7*7}}",
            "'; --",
        ]
        lines = [[name, random.choice(cells), random.choice(cells)] for name in pictures()]
        return [("metadata.csv", rows([["file_name", "text", "label"], *lines])), *pictures().items()]

    def table_paths(self, random: random.Random) -> list[File]:
        paths = [str(self.canary.paths[0]), f"../../../../../../..{self.canary.paths[0]}", "http://127.0.0.1:9/x.png"]
        paths += [f"file://{self.canary.paths[0]}", "/proc/self/environ", "~/x.png", "", ".", "red.png/../red.png"]
        lines = [[path, "a text"] for path in [random.choice(paths), *pictures()]]
        table = rows([["file_name", "text"], *lines])
        if random.random() < 0.5:
            return [("paths.zip", archive({"metadata.csv": table, **pictures()}))]
        return [("metadata.csv", table), *pictures().items()]

    def two_tables(self, random: random.Random) -> list[File]:
        table = rows([["file_name", "text"], ["red.png", "red"]])
        return [("metadata.csv", table), ("metadata.jsonl", b"{}"), *pictures().items()]

    def odd_table(self, random: random.Random) -> list[File]:
        contents = [b"", b"\xff\xfe\x00", b"file_name\n", b"a,b\n1\n", b"[" * 50_000, b'{"file_name": ' * 5000]
        contents += [b'{"file_name": "red.png", "text": 1e999}\n', b'{"file_name": ["red.png"], "text": {}}\n' * 3]
        contents += [b"file_name,text\n" + b"red.png,x\n" * 30_000, b"file_name," * 30_000 + b"\n"]
        name = random.choice(["metadata.csv", "metadata.jsonl"])
        return [(name, random.choice(contents)), *pictures().items()]


def picture(colour: str) -> bytes:
    """A small PNG."""
    file = io.BytesIO()
    Image.new("RGB", (24, 24), colour).save(file, "PNG")
    return file.getvalue()


def pictures() -> dict[str, bytes]:
    """Good images, as many as a gallery needs."""
    return {f"{colour}.png": picture(colour) for colour in ("red", "green", "blue")}


def archive(entries: Mapping[str, bytes]) -> bytes:
    """A zip, compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return buffer.getvalue()


def rows(lines: list[list[str]]) -> bytes:
    """A CSV table."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows(lines)
    return buffer.getvalue().encode(errors="replace")
