from datasets import ClassLabel, Dataset, DatasetDict, concatenate_datasets
from PIL import Image as Images

from cmr_hub.data.fingerprint import fingerprint
from toys import feature_dataset, image_dataset


def of(dataset: Dataset) -> str:
    return fingerprint(DatasetDict(train=dataset))["train"]


def test_each_split_has_its_length_and_digest():
    found = fingerprint(DatasetDict(train=feature_dataset(30), test=feature_dataset(20)))
    assert [line.partition(", ")[0] for line in found.values()] == ["30 pairs", "20 pairs"]
    assert list(found) == ["train", "test"]


def test_how_a_table_is_cut_does_not_matter():
    whole = feature_dataset(3000)
    parts = concatenate_datasets([whole.select(range(700)), whole.select(range(700, 3000))])
    back = whole.select(list(reversed(range(3000)))).select(list(reversed(range(3000))))
    assert of(whole) == of(parts) == of(back)
    assert of(whole.select(range(1000, 1010))) == of(whole.select(list(range(1000, 1010))))


def test_values_order_columns_and_classes_matter():
    dataset = feature_dataset(30)
    renamed = dataset.cast_column("label", ClassLabel(names=["x", "y", "z"]))
    labels = dataset["label"][:]
    others = dataset.remove_columns("label").add_column("label", [labels[0] ^ 1, *labels[1:]])
    others = others.cast_column("label", dataset.features["label"])
    variants = [dataset, dataset.select(list(range(29, -1, -1))), dataset.remove_columns("label"), renamed, others]
    assert len({of(variant) for variant in variants}) == len(variants)


def test_images_count_by_name_and_size_wherever_they_are(tmp_path):
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    first, moved, changed = (image_dataset(tmp_path / name) for name in ("one", "two", "three"))
    Images.new("RGB", (90, 90)).save(tmp_path / "three" / "red.png")
    assert of(first) == of(moved) != of(changed)


def test_images_in_the_table_count_by_their_bytes(tmp_path):
    from datasets import Image

    rows = image_dataset(tmp_path)
    records = [{"bytes": (tmp_path / f"{name}.png").read_bytes(), "path": None} for name in rows["id"]]
    embedded, mixed = (
        Dataset.from_dict({"image": images}).cast_column("image", Image()) for images in (records, records[::-1])
    )
    assert of(embedded) != of(mixed)
