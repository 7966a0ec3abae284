"""XMedia (Peng et al., Zhai et al.; PKU): images and texts of 20 classes, as the features that its authors release.

The five media of the data set come in one file, `XMediaFeatures.mat`, of which these arrays are read:

    I_tr_CNN, I_te_CNN      images, features of a CNN, a row an item
    T_tr_BOW, T_te_BOW      texts, bags of words
    trImgCat, teImgCat      the number of each image's class
    trTxtCat, teTxtCat      the number of each text's class

There are 250 images and 250 texts of each class (insect, bird, wind, dog, tiger, explosion, elephant, flute,
airplane, drum, train, laughter, wolf, thunder, horse, autobike, gun, stream, piano, violin), 4,000 pairs to train and
1,000 to test. Papers with a validation part take it from the test part, each in its own way; here there is none.

Images and texts were collected apart: a pair shares its class and nothing else. The k-th image of a class is
paired with its k-th text. The file numbers the classes, and which number is which class could not be checked, so they
are called by number here; ids are "train-1" …, by class.

The arrays' names are those that several published loaders read. The raw images and texts, in whose layout nothing
public could be found, are not read. Tested against a generated file, not against the release itself.
"""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np

from cmr_hub.data import register_dataset
from cmr_hub.errors import DatasetError

from .base import DatasetInfo, Loader, ProgressCallback, warn_of_sizes
from .download import at_hand, cached
from .mat import Part, build_parts, numbered_classes, read_matrices

FEATURES = "XMediaFeatures.mat"
SUFFIXES = {"train": "tr", "test": "te"}


@register_dataset("xmedia")
class XMedia(Loader):
    """`load_dataset("xmedia")`: released features only."""

    info = DatasetInfo(
        name="xmedia",
        title="XMedia (PKU)",
        license="for research, by the agreement that its authors ask for",
        homepage="https://www.icst.pku.edu.cn/mipl/lwsjjxz/dataset",
        source="https://www.icst.pku.edu.cn/mipl/lwsjjxz/dataset",
        by_hand=True,
        how_to_get=(
            "Ask its authors by the form on https://www.icst.pku.edu.cn/mipl/lwsjjxz/dataset; the folder with "
            "XMediaFeatures.mat in it is the one."
        ),
        citation=(
            "Y. Peng, X. Zhai, Y. Zhao, X. Huang. Semi-Supervised Cross-Media Feature Learning with Unified Patch "
            "Graph Regularization. IEEE Transactions on Circuits and Systems for Video Technology 26(3), 2016. "
            "X. Zhai, Y. Peng, J. Xiao. Learning Cross-Media Joint Representation with Sparse and Semisupervised "
            "Regularization. IEEE Transactions on Circuits and Systems for Video Technology 24(6), 2014."
        ),
        classes=numbered_classes(20),
        columns=("id", "image_features", "text_features", "label"),
        sizes={"train": 4_000, "test": 1_000},
    )

    def is_available(self, folder: Path | None) -> bool:
        return ((folder or cached(self.info)) / FEATURES).is_file()

    def load(self, folder: Path | None, *, progress: ProgressCallback | None = None) -> datasets.DatasetDict:
        folder = at_hand(self.info, folder)
        if not self.is_available(folder):
            raise DatasetError(
                f"{folder} does not have the layout of XMedia: there is no {FEATURES} in it. {self.info.how_to_get}"
            )
        result = read_file(self.info, folder / FEATURES)
        warn_of_sizes(self.info, result)
        return result


def read_file(info: DatasetInfo, path: Path) -> datasets.DatasetDict:
    """Read the authors' file of features.

    Raises:
        DatasetError: it is damaged or lacks an array; arrays that do not agree; a class with more images than texts,
            or fewer; a number that is no class.
    """
    parts = {}
    for split, suffix in SUFFIXES.items():
        names = (f"I_{suffix}_CNN", f"T_{suffix}_BOW", f"{suffix}ImgCat", f"{suffix}TxtCat")
        images, texts, of_images, of_texts = read_matrices(path, names)
        lengths = (len(images), len(texts), of_images.size, of_texts.size)
        image_order, text_order = (np.argsort(each.reshape(-1), kind="stable") for each in (of_images, of_texts))
        categories = of_images.reshape(-1)[image_order]
        if len(set(lengths)) > 1 or not np.array_equal(categories, of_texts.reshape(-1)[text_order]):
            raise DatasetError(
                f"{path}: {', '.join(names)} have {', '.join(map(str, lengths))} rows, or a class has more images "
                f"than texts, or fewer. Of each class there must be as many of both."
            )
        parts[split] = Part(images[image_order], texts[text_order], categories[:, None])
    return build_parts(info, path, parts)
