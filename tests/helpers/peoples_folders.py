"""Folders of images and texts as users of Windows, macOS and Excel make them, two of each."""

from __future__ import annotations

import csv
import datetime
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

COLOURS = ("red", "green", "blue")
WORDS = {"red": "rot, wie Klatschmohn", "green": "grün wie Gras", "blue": "blau wie das Meer"}


def _draw(path: Path, number: int) -> str:
    """An image of a colour; returns the colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = COLOURS[number % 3]
    image = Image.new("RGB", (24, 24), colour)
    image.putpixel((number % 24, number // 24), (255, 255, 255))
    if path.suffix.lower() == ".heic":
        pytest.importorskip("pillow_heif").from_pillow(image).save(path)
    else:
        image.save(path)
    return colour


def windows_folder(root: Path, pairs: int) -> Path:
    """Backslashes, Windows-1252, semicolons, CRLF, names in another case than the files', and files of the system."""
    lines = ["Datei;File_Name;Text;Label", *(f"x;{name};;" for name in ("Thumbs.db", "desktop.ini"))]
    for number in range(pairs):
        colour = _draw(root / "Bilder" / f"Größe_{number}.PNG", number)
        lines.append(f'x;Bilder\\größe_{number}.png;"{WORDS[colour]}; {number} €";{colour}')
    (root / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (root / "desktop.ini").write_bytes(b"[.ShellClassInfo]\r\n")
    (root / "Metadata.csv").write_bytes(("\r\n".join(lines) + "\r\n").encode("cp1252"))
    return root


def mac_folder(root: Path, pairs: int) -> Path:
    """Names and classes with accents in two pieces, "._" files, .DS_Store, old line ends."""
    lines = ["file_name,text,label"]
    for number in range(pairs):
        name = f"Bäume/été {number}.png"
        colour = _draw(root / unicodedata.normalize("NFD", name), number)
        form = "NFC" if number % 2 else "NFD"
        lines.append(f'{name},"{WORDS[colour]} {number}",{unicodedata.normalize(form, f"très {colour}")}')
        (root / unicodedata.normalize("NFD", f"Bäume/._été {number}.png")).write_bytes(b"\0\5\x16\7")
    lines.append("Bäume/._été 0.png,Apple,rouge")
    (root / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (root / "._metadata.csv").write_bytes(b"\0\5\x16\7")
    (root / "metadata.csv").write_bytes("\r".join(lines).encode())
    return root


def excel_folder(root: Path, pairs: int) -> Path:
    """A byte order mark, semicolons, line breaks in cells, years as classes, blank rows and columns, a workbook."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "metadata.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\r\n")
        writer.writerow(["File name", "Caption 1", "Caption 2", "Label", "", ""])
        for number in range(pairs):
            colour = _draw(root / f"{number}.png", number)
            year = f"{2019 + COLOURS.index(colour)}" + (".0" if number % 2 else "")
            writer.writerow([f"{number}.png", f"{WORDS[colour]}\n{number}", "#N/A", year, "", ""])
        writer.writerows([[""] * 6] * 3)
    (root / "metadata.xlsx").write_bytes(b"PK\3\4")
    (root / "~$metadata.xlsx").write_bytes(b"\5Excel")
    return root


def explorer_folder(root: Path, pairs: int) -> Path:
    """Text of Excel (tabs, Windows-1252) in capitals, images of a camera in a folder that the names lack."""
    lines = ["File Name\tText\tLabel"]
    for number in range(pairs):
        colour = _draw(root / "DCIM" / f"Größe {number}.JPG", number)
        lines.append(f'GRÖSSE {number}.jpg\t"{WORDS[colour]}; 19,90 €"\t{colour}')
    (root / "DCIM" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (root / "METADATA.TXT").write_bytes(("\r\n".join(lines) + "\r\n").encode("cp1252"))
    (root / "LIESMICH.TXT").write_bytes("Fotos für den Katalog".encode("cp1252"))
    return root


def numbers_folder(root: Path, pairs: int) -> Path:
    """A table that Numbers exported with its title, photos of an iPhone, names without suffixes, which macOS hides."""
    lines = ["Tabelle 1;;", "File name;Caption;Label"]
    for number in range(pairs):
        stem = unicodedata.normalize("NFD", f"Foto für Zoé {number}")
        colour = _draw(root / f"{stem}{'.HEIC' if number % 2 else '.jpeg'}", number)
        (root / f"._{stem}.HEIC").write_bytes(b"\0\5\x16\7")
        lines.append(f'Foto für Zoé {number};"{WORDS[colour]}; {number}";{colour}')
    (root / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (root / "metadata.csv").write_text("\r\n".join(lines), encoding="utf-8", newline="")
    return root


def workbook_folder(root: Path, pairs: int) -> Path:
    """Notes on the first sheet, a title in merged cells, blank rows, numbers as names and ids, dates as classes."""
    book = pytest.importorskip("openpyxl").Workbook()
    book.active.append(["Stand", datetime.datetime(2024, 5, 1)])
    sheet = book.create_sheet("Artikel")
    sheet.append(["Unsere Artikel"])
    sheet.merge_cells("A1:D1")
    sheet.append([])
    sheet.append(["ID", "File name", "Text", "Label"])
    for number in range(pairs):
        colour = _draw(root / f"{1000 + number}.jpg", number)
        day = datetime.datetime(2024, 1, 1 + COLOURS.index(colour))
        name = 1000.0 + number
        sheet.append(
            [name if number % 2 else f"{1000 + number}", name, WORDS[colour], day if number % 2 else str(day.date())]
        )
        if number % 5 == 4:
            sheet.append([None, " "])
    book.save(root / "metadata.xlsx")
    return root


FOLDERS = {
    "windows": windows_folder,
    "mac": mac_folder,
    "excel": excel_folder,
    "explorer": explorer_folder,
    "numbers": numbers_folder,
    "workbook": workbook_folder,
}
