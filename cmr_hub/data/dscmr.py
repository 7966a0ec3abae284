"""DSCMR's features of Pascal Sentence (Zhen et al., CVPR 2019), as its authors' repository has them in `data/pascal/`.

    train_img.mat, test_img.mat            arrays train_img, test_img: the 4096-d fc7 of VGG19, after its ReLU
    train_txt.mat, test_txt.mat            arrays train_txt, test_txt: the sentence CNN's vectors, 300-d, after a ReLU
    train_img_lab.mat, test_img_lab.mat    arrays train_img_lab, test_img_lab: the class of each row, from 0 to 19

Row i of the three files is item i: 800 train, 40 of each class, and 100 test, 5 of each class; the paper's 100 pairs
for validation are not in the release. Rows are sorted by class. The release says neither which photo a row is of nor
which class a number stands for, so ids are "train-1" …, and classes are called by their numbers; whether files count
them from 0 or from 1 shows in their smallest.

The names are those that the authors' `load_data.py` reads. Checked against the release, but for `train_img.mat`, which
was not at hand.
"""

from __future__ import annotations

from pathlib import Path

import datasets

from cmr_hub.data import register_dataset
from cmr_hub.errors import DatasetError

from .base import DatasetInfo, Loader, ProgressCallback, warn_of_sizes
from .download import at_hand, cached
from .mat import Part, build_parts, find_array, numbered_classes

SPLITS = ("train", "test")


@register_dataset("pascal-dscmr")
class PascalDSCMR(Loader):
    """`load_dataset("pascal-dscmr")`: released features only."""

    info = DatasetInfo(
        name="pascal-dscmr",
        title="Pascal Sentence, DSCMR's features",
        license="none stated by its authors; for research",
        homepage="https://github.com/penghu-cs/DSCMR",
        source="https://github.com/penghu-cs/DSCMR",
        by_hand=True,
        how_to_get="Clone https://github.com/penghu-cs/DSCMR; its folder data/pascal with train_img.mat is the one.",
        citation="L. Zhen, P. Hu, X. Wang, D. Peng. Deep Supervised Cross-Modal Retrieval. CVPR 2019.",
        classes=numbered_classes(20),
        columns=("id", "image_features", "text_features", "label"),
        sizes={"train": 800, "test": 100},
    )

    def is_available(self, folder: Path | None) -> bool:
        folder = folder or cached(self.info)
        return all((folder / f"{name}.mat").is_file() for split in SPLITS for name in array_names(split))

    def load(self, folder: Path | None, *, progress: ProgressCallback | None = None) -> datasets.DatasetDict:
        folder = at_hand(self.info, folder)
        if not self.is_available(folder):
            raise DatasetError(
                f"{folder} does not have the layout of DSCMR's features: train_img.mat, train_txt.mat, "
                f"train_img_lab.mat and the same of test. {self.info.how_to_get}"
            )
        result = read_folder(self.info, folder)
        warn_of_sizes(self.info, result)
        return result


def array_names(split: str) -> tuple[str, str, str]:
    """The arrays of a split, each in a file of its name: images, texts, classes."""
    return f"{split}_img", f"{split}_txt", f"{split}_img_lab"


def read_folder(info: DatasetInfo, folder: Path) -> datasets.DatasetDict:
    """Read the six files.

    Raises:
        DatasetError: a file is damaged or lacks its array; arrays that do not agree; a number that is no class.
    """
    parts = {
        split: Part(*(find_array(folder / f"{name}.mat", [name]).read() for name in array_names(split)))
        for split in SPLITS
    }
    return build_parts(info, folder, parts)
