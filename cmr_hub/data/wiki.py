"""Wikipedia (Rasiwasia et al., MM 2010): 2866 sections of featured articles, each with its image, in 10 classes.

The official archive's layout, which the folder may have itself or in a subfolder `wikipedia_dataset/`:

    raw_features.mat           I_tr, I_te: 128-d bags of SIFT words; T_tr, T_te: 10-d LDA topics
    trainset_txt_img_cat.list  text id, image id, category 1-10; row i of it is row i of I_tr and T_tr
    testset_txt_img_cat.list   the same of the test split
    categories.list            class names
    images/<class>/<image id>.jpg  and  texts/<text id>.xml

The features are always offered; `image` and `texts` where `images/` and `texts/` are there too.
"""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from cmr_hub.data import register_dataset
from cmr_hub.errors import DatasetError
from cmr_hub.utils.messages import name_some

from .archives import extract
from .base import TEXTS, DatasetInfo, Loader, ProgressCallback, build, label_features, warn_of_sizes
from .download import cached, download_file, fetch_once, open_client, source_of
from .paths import unsafe_reason
from .progress import stepwise

ARCHIVE = "wikipedia_dataset.zip"
MAX_ARCHIVE_BYTES = 4 << 30
MAX_UNPACKED_BYTES = 8 << 30
LISTS = {"train": ("trainset_txt_img_cat.list", "tr"), "test": ("testset_txt_img_cat.list", "te")}
FEATURES = "raw_features.mat"
CLASSES = "categories.list"


@register_dataset("wiki")
class Wiki(Loader):
    """`load_dataset("wiki")`: `id` is the text id of the archive's lists."""

    info = DatasetInfo(
        name="wiki",
        title="Wikipedia (Rasiwasia et al. 2010)",
        license="none stated by its authors; the texts and most images are Wikipedia's (CC BY-SA)",
        homepage="http://www.svcl.ucsd.edu/projects/crossmodal/",
        source="http://www.svcl.ucsd.edu/projects/crossmodal/",
        how_to_get=(
            "Fetch http://www.svcl.ucsd.edu/projects/crossmodal/wikipedia_dataset.zip and unpack it; the folder "
            "wikipedia_dataset with raw_features.mat in it is the one."
        ),
        citation=(
            "N. Rasiwasia, J. Costa Pereira, E. Coviello, G. Doyle, G. Lanckriet, R. Levy, N. Vasconcelos. "
            "A New Approach to Cross-Modal Multimedia Retrieval. ACM Multimedia 2010."
        ),
        classes=(
            "art",
            "biology",
            "geography",
            "history",
            "literature",
            "media",
            "music",
            "royalty",
            "sport",
            "warfare",
        ),
        columns=("id", "image", "texts", "image_features", "text_features", "label"),
        sizes={"train": 2173, "test": 693},
    )

    def is_available(self, folder: Path | None) -> bool:
        return find_root(folder or cached(self.info)) is not None

    def load(self, folder: Path | None, *, progress: ProgressCallback | None = None) -> datasets.DatasetDict:
        result = read_folder(self.info, folder or fetch_once(self.info, self._download, progress))
        warn_of_sizes(self.info, result)
        return result

    def _download(self, folder: Path, progress: ProgressCallback | None) -> None:
        archive = folder / ARCHIVE
        url = f"{source_of(self.info).rstrip('/')}/{ARCHIVE}"
        with open_client() as client, stepwise(f"Downloading {ARCHIVE}", "B", progress) as at:
            download_file(client, url, archive, MAX_ARCHIVE_BYTES, at)
        extract(archive, folder, MAX_UNPACKED_BYTES, progress=progress)
        read_folder(self.info, folder)  # an archive without the layout must not become the cached folder
        archive.unlink()


def find_root(folder: Path) -> Path | None:
    """The folder with the features and the lists: `folder` itself or its `wikipedia_dataset/`."""
    needed = [FEATURES, CLASSES, *(name for name, _ in LISTS.values())]
    for root in (folder, folder / "wikipedia_dataset"):
        if all((root / name).is_file() for name in needed):
            return root
    return None


def read_folder(info: DatasetInfo, folder: Path) -> datasets.DatasetDict:
    """Read the official layout.

    Raises:
        DatasetError: another layout; lists and features that do not agree; listed images or texts that are missing.
    """
    root = find_root(folder)
    if root is None:
        raise DatasetError(
            f"{folder} does not have the layout of the Wikipedia data set: {FEATURES}, {CLASSES} and "
            f"{' and '.join(name for name, _ in LISTS.values())} side by side. {info.how_to_get}"
        )
    classes = _read_lines(root / CLASSES)
    arrays = _read_features(root / FEATURES)
    columns: dict[str, list] = {"id": [], "image_features": [], "text_features": [], "label": []}
    image_ids, splits = [], []
    for split, (list_name, suffix) in LISTS.items():
        rows = _read_list(root / list_name, len(classes))
        images, texts = arrays[f"I_{suffix}"], arrays[f"T_{suffix}"]
        if not len(rows) == len(images) == len(texts):
            raise DatasetError(
                f"{root}: {list_name} has {len(rows)} rows, but {FEATURES} has {len(images)} image and {len(texts)} "
                f"text vectors for it. Lists and features are not of one archive; fetch it anew."
            )
        columns["id"] += [text_id for text_id, _, _ in rows]
        columns["label"] += [category - 1 for _, _, category in rows]
        columns["image_features"] += list(images)
        columns["text_features"] += list(texts)
        image_ids += [image_id for _, image_id, _ in rows]
        splits += [split] * len(rows)
    types: dict[str, Any] = {
        name: datasets.List(datasets.Value("float32"), length=len(columns[name][0]))
        for name in ("image_features", "text_features")
    }
    if (root / "images").is_dir():
        columns["image"] = _image_paths(root, image_ids, [classes[label] for label in columns["label"]])
        types["image"] = datasets.Image()
    if (root / "texts").is_dir():
        columns["texts"] = [[text] for text in _read_texts(root, columns["id"])]
        types["texts"] = TEXTS
    types = {name: types[name] for name in info.columns if name in types}
    return build(info, columns, splits, label_features(classes, **types))


def _read_lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not a UTF-8 text file: {error}.") from error


def _read_list(path: Path, classes: int) -> list[tuple[str, str, int]]:
    rows = []
    for number, line in enumerate(_read_lines(path), start=1):
        fields = line.split()
        usable = (
            len(fields) == 3
            and not any(unsafe_reason(name) or "/" in name for name in fields[:2])
            and fields[2].isdecimal()
            and 1 <= int(fields[2]) <= classes
        )
        if not usable:
            raise DatasetError(
                f"{path}, row {number}: {line[:80]!r} is not 'text id, image id, category' with a category in "
                f"1-{classes}."
            )
        rows.append((fields[0], fields[1], int(fields[2])))
    return rows


def _read_features(path: Path) -> dict[str, np.ndarray]:
    """The four arrays as float32, finite, of one width a modality."""
    from scipy.io import loadmat

    names = [f"{side}_{suffix}" for _, suffix in LISTS.values() for side in "IT"]
    try:
        loaded = loadmat(path, variable_names=names)
        arrays = {name: np.asarray(loaded[name], dtype=np.float32) for name in names}
    except KeyError as error:
        raise DatasetError(f"{path} has no array {error}; it needs {', '.join(names)}.") from error
    except Exception as error:  # scipy's reader raises whatever the damage leads to
        raise DatasetError(f"{path} cannot be read as a MATLAB file ({error}). Fetch the archive anew.") from error
    for side in "IT":
        train, test = arrays[f"{side}_tr"], arrays[f"{side}_te"]
        if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1]:
            raise DatasetError(f"{path}: {side}_tr and {side}_te have shapes {train.shape} and {test.shape}.")
    for name, array in arrays.items():
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(bad):
            raise DatasetError(f"{path}: {name} has values that are not finite, first in row {bad[0] + 1}.")
    return arrays


def _image_paths(root: Path, image_ids: list[str], class_names: list[str]) -> list[str]:
    paths = [root / "images" / name / f"{image_id}.jpg" for image_id, name in zip(image_ids, class_names, strict=True)]
    _refuse_missing(root, "images", paths)
    return [str(path) for path in paths]


def _read_texts(root: Path, text_ids: list[str]) -> list[str]:
    paths = [root / "texts" / f"{text_id}.xml" for text_id in text_ids]
    _refuse_missing(root, "texts", paths)
    texts = [article_text(path.read_text(encoding="utf-8", errors="replace")) for path in paths]
    empty = [path.name for path, text in zip(paths, texts, strict=True) if not text]
    if empty:
        raise DatasetError(f"{root / 'texts'}: {len(empty)} files have no <text> in them: {name_some(empty)}.")
    return texts


def _refuse_missing(root: Path, folder: str, paths: list[Path]) -> None:
    missing = [str(path.relative_to(root)) for path in paths if not path.is_file()]
    if missing:
        raise DatasetError(
            f"{root}: {len(missing)} of the {len(paths)} listed files are missing: {name_some(missing)}. Unpack the "
            f"whole archive, or take the folder {folder}/ away to load the data set without it."
        )


def article_text(xml: str) -> str:
    r"""The text between the <text> tags of an article file, white space collapsed.

    Read by a tolerant HTML parser and not by an XML one: it knows no document types, so entities that a file defines
    are never expanded and nothing is ever fetched, and a bare "&" or "<" does not lose the article.

    Example:
    ```python
    >>> article_text('<document><imageset><image id="1"/></imageset><text>Salt &amp;\n pepper</text></document>')
    'Salt & pepper'
    ```
    """
    reader = _TextReader()
    reader.feed(xml)
    reader.close()
    return " ".join("".join(reader.pieces).split())


class _TextReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.inside = False
        self.pieces: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = self.inside or tag == "text"

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "text"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.pieces.append(data)
