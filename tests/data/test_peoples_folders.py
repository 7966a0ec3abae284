"""Folders as people's systems and programs make them."""

import unicodedata

import pytest

from cmr_hub.data import load_dataset
from cmr_hub.data.columns import read_column
from cmr_hub.errors import DatasetError
from cmr_hub.utils.images import load_image
from peoples_folders import (
    excel_folder,
    explorer_folder,
    mac_folder,
    numbers_folder,
    windows_folder,
    workbook_folder,
)

PAIRS = 6


def rows_of(dataset) -> list[dict]:
    return sorted((row for part in dataset.values() for row in part), key=lambda row: row["id"])


def test_folder_of_a_windows_user(tmp_path, caplog):
    loaded = load_dataset("folder", windows_folder(tmp_path, PAIRS))
    rows = rows_of(loaded)
    assert [row["id"] for row in rows] == [f"Bilder/Größe_{number}.PNG" for number in range(PAIRS)]
    assert rows[1]["texts"] == ["grün wie Gras; 1 €"]
    assert rows[1]["image"].getpixel((0, 1)) == (0, 128, 0)
    assert loaded["train"].features["label"].names == ["blue", "green", "red"]
    assert "read as Windows-1252, as in 'größe_0'" in caplog.text


def test_folder_of_a_mac_user(tmp_path):
    loaded = load_dataset("folder", mac_folder(tmp_path, PAIRS))
    rows = rows_of(loaded)
    assert len(rows) == PAIRS
    assert rows[0]["image"].size == (24, 24)
    assert loaded["train"].features["label"].names == ["très blue", "très green", "très red"]


def test_folder_of_an_excel_user(tmp_path, caplog):
    loaded = load_dataset("folder", excel_folder(tmp_path, PAIRS))
    rows = rows_of(loaded)
    assert [row["texts"] for row in rows[:2]] == [["rot, wie Klatschmohn\n0"], ["grün wie Gras\n1"]]
    assert loaded["train"].features["label"].names == ["2019", "2020", "2021"]
    assert "metadata.csv is read, and not the workbook next to it" in caplog.text


def test_workbook(tmp_path, caplog):
    openpyxl = pytest.importorskip("openpyxl")
    import datetime

    excel_folder(tmp_path, 3)
    (tmp_path / "metadata.csv").unlink()
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append([None, None])
    sheet.append(["file_name", "text", "label", None])
    for number in range(3):
        sheet.append([f"{number}.png", f"a text {number}", datetime.datetime(2024, 1, 5 + number % 2), None])
    sheet.append([None, " ", None, None])
    book.create_sheet("Notizen")
    book.save(tmp_path / "metadata.xlsx")
    loaded = load_dataset("folder", tmp_path, split="train")
    assert loaded["train"]["texts"][:] == [["a text 0"], ["a text 1"], ["a text 2"]]
    assert loaded["train"].features["label"].names == ["2024-01-05", "2024-01-06"]
    assert "2 sheets; 'Sheet' is read" in caplog.text


def test_workbook_with_other_sheets_and_a_title_over_several_columns(tmp_path, caplog):
    openpyxl = pytest.importorskip("openpyxl")
    excel_folder(tmp_path, 3)
    (tmp_path / "metadata.csv").unlink()
    book = openpyxl.Workbook()
    book.active.append(["Stand", "Mai 2024"])
    for title in ("Artikel", "Alt"):
        sheet = book.create_sheet(title)
        sheet.append(["Unsere Artikel"])
        sheet.merge_cells("A1:C1")
        sheet.append(["File name", "Text", "Label"])
        for number in range(3):
            sheet.append([number if number else "0.png", f"{title} {number}", 2020.0 + number % 2])
    book.save(tmp_path / "metadata.xlsx")
    loaded = load_dataset("folder", tmp_path, split="train")["train"]
    assert loaded["id"][:] == ["0.png", "1.png", "2.png"]
    assert loaded["texts"][:] == [["Artikel 0"], ["Artikel 1"], ["Artikel 2"]]
    assert loaded.features["label"].names == ["2020", "2021"]
    assert "3 sheets; 'Artikel' is read. Alt has such columns as well: put all rows into one sheet" in caplog.text


def test_classes_in_merged_cells(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    excel_folder(tmp_path, 4)
    (tmp_path / "metadata.csv").unlink()
    book = openpyxl.Workbook()
    book.active.append(["file_name", "text", "label"])
    for number in range(4):
        book.active.append([f"{number}.png", "a text", "x" if number % 2 == 0 else None])
    book.active.merge_cells("C2:C3")
    book.save(tmp_path / "metadata.xlsx")
    with pytest.raises(DatasetError, match=r"1.png \(row 3\), 3.png \(row 5\).* Of merged cells only the first"):
        load_dataset("folder", tmp_path)


def test_text_of_excel_and_photos_of_a_camera(tmp_path, caplog):
    rows = rows_of(load_dataset("folder", explorer_folder(tmp_path, PAIRS)))
    assert [row["id"] for row in rows] == [f"DCIM/Größe {number}.JPG" for number in range(PAIRS)]
    assert rows[0]["texts"] == ["rot, wie Klatschmohn; 19,90 €"]
    assert "read as Windows-1252" in caplog.text


def test_table_of_numbers_and_photos_of_an_iphone(tmp_path):
    loaded = load_dataset("folder", numbers_folder(tmp_path, PAIRS), split="train")["train"]
    names = [f"Foto für Zoé {number}{'.HEIC' if number % 2 else '.jpeg'}" for number in range(PAIRS)]
    assert loaded["id"][:] == [unicodedata.normalize("NFD", name) for name in names]
    assert [image.size for image in map(load_image, read_column(loaded, "image"))] == [(24, 24)] * PAIRS


def test_workbook_of_numbers_and_dates(tmp_path):
    loaded = load_dataset("folder", workbook_folder(tmp_path, PAIRS), split="train")["train"]
    assert loaded["id"][:] == [str(1000 + number) for number in range(PAIRS)]
    assert loaded.features["label"].names == ["2024-01-01", "2024-01-02", "2024-01-03"]
