from __future__ import annotations

import re

import numpy as np
import pytest

from cmr_hub.errors import CMRError, InputError, UnknownNameError
from cmr_hub.evaluation import (
    Protocol,
    evaluate_embeddings,
    get_protocol,
    list_protocols,
    number_texts,
    spread_captions,
)


def fan(items):
    """Unit rows in the plane, each further from the first: a gallery that a query at angle 0 ranks in its order."""
    angles = 0.1 * np.arange(items)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def image_to_text(protocol, queries, labels, gallery_labels=None, **changes):
    """mAP of queries that all stand at angle 0, against a fan."""
    images = np.repeat(fan(1), queries, axis=0)
    gallery = {}
    if gallery_labels is not None:
        size = len(gallery_labels)
        gallery = {"gallery_image_embeds": fan(size), "gallery_text_embeds": fan(size)}
        gallery["gallery_labels"] = np.array(gallery_labels)
    result = evaluate_embeddings(
        images, fan(queries), np.array(labels), protocol=get_protocol(protocol, **changes), **gallery
    )
    return result.metrics["image_to_text/map"]


def test_dscmr_by_hand():
    # classes at the ranks: 0 1 0 2. Class 0 (twice): (1/1 + 2/3) / 2; class 1: 1/2; class 2: 1/4.
    assert image_to_text("dscmr", 4, [0, 1, 0, 2]) == pytest.approx((5 / 6 + 1 / 2 + 5 / 6 + 1 / 4) / 4)


def test_own_pair_left_out_by_hand():
    # Item 0 sees 1 0 2: 1/2. Item 2 sees 0 1 2: 1. Items 1 and 3 have nobody of their class left.
    value = image_to_text("dscmr", 4, [0, 1, 0, 2], keep_own_pair=False)
    assert value == pytest.approx((1 / 2 + 0 + 1 + 0) / 4)


def test_dcmh_by_hand():
    # class 0 at ranks 2, 3 and 5 of the training split
    assert image_to_text("dcmh", 1, [0], [1, 0, 0, 1, 0]) == pytest.approx((1 / 2 + 2 / 3 + 3 / 5) / 3)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (1 / 2 + 2 / 3) / 2),
        ({"ap_divisor": "relevant"}, (1 / 2 + 2 / 3) / 3),
        ({"ap_divisor": "min", "cut_off": 2}, (1 / 2) / 2),
    ],
)
def test_djsrh_cut_and_divisor_by_hand(changes, expected):
    value = image_to_text("djsrh", 1, [0], [1, 0, 0, 1, 0], **{"cut_off": 3, **changes})
    assert value == pytest.approx(expected)


def test_hashnet_drops_what_djsrh_counts_as_zero():
    # cut at 2: class 0 has 1/2, class 1 has 1, class 2 stands behind the cut
    queries = {"queries": 3, "labels": [0, 1, 2], "gallery_labels": [1, 0, 2]}
    assert image_to_text("djsrh", **queries, cut_off=2) == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert image_to_text("hashnet", **queries, cut_off=2) == pytest.approx((1 / 2 + 1) / 2)


def test_dcmh_tie_aware_by_hand():
    # All codes are equal: the one relevant item of two is first or second.
    codes = np.zeros((2, 1), np.uint8)
    arguments = {
        "labels": np.array([0, 0]),
        "gallery_image_embeds": codes,
        "gallery_text_embeds": codes,
        "gallery_labels": np.array([1, 0]),
    }
    by_order = evaluate_embeddings(codes, codes, protocol="dcmh", **arguments)
    expected = evaluate_embeddings(codes, codes, protocol="dcmh-tie-aware", **arguments)
    assert (by_order.metrics["map"], expected.metrics["map"]) == (0.5, 0.75)


def test_fico_itr_by_hand():
    # Two images, captions 0 1 of the first and 2 of the second in a fan: both images see classes 0 0 1.
    result = evaluate_embeddings(
        np.repeat(fan(1), 2, axis=0),
        fan(3),
        np.array([0, 1]),
        protocol=get_protocol("fico-itr", cut_off=2),
        caption_to_image=np.array([0, 0, 1]),
    )
    assert result.metrics["image_to_text/map"] == pytest.approx((1 + 0) / 2)
    assert result.queries == {"image_to_text": 2, "text_to_image": 3}
    # Captions see the images tied, in order: class 0 first. 1, 1, and 1/2.
    assert result.metrics["text_to_image/map"] == pytest.approx((1 + 1 + 1 / 2) / 3)


def test_instance_by_hand():
    # Image 1 has captions 0 and 4, image 0 the others; both images see captions 0 1 2 3 4 in this order.
    result = evaluate_embeddings(
        np.repeat(fan(1), 2, axis=0),
        fan(5),
        protocol=get_protocol("instance", at=(1, 2)),
        caption_to_image=np.array([1, 0, 0, 0, 1]),
    )
    assert result.metrics["image_to_text/recall@1"] == 0.5  # first ranks 2 and 1
    assert result.metrics["image_to_text/mean_rank"] == 1.5
    assert result.metrics["image_to_text/median_rank"] == 1
    assert result.metrics["text_to_image/recall@1"] == pytest.approx(3 / 5)  # tied, image 0 first
    assert result.metrics["text_to_image/mean_rank"] == pytest.approx((2 + 1 + 1 + 1 + 2) / 5)
    assert result.metrics["recall@1"] == pytest.approx((0.5 + 0.6) / 2)
    assert result.metrics["image_to_text/mean_recall"] == pytest.approx((0.5 + 1) / 2)
    assert result.metrics["text_to_image/mean_recall"] == pytest.approx((3 / 5 + 1) / 2)
    assert result.metrics[result.primary_metric] == pytest.approx((0.5 + 1 + 0.6 + 1) / 4)
    assert result.primary_metric == "mean_recall"


# Three images; the text "grass" stands on the first and on the last one.
CAPTIONS = [["grass", "trees"], ["sand"], ["grass"]]


def seen_alike(protocol, **changes):
    """Three images that see their captions as grass (twice), trees and sand, in this order; the captions see 0 1 2."""
    angles = {"grass": 0, "trees": 1, "sand": 2}
    protocol = get_protocol(protocol, at=(1, 2), **changes)
    captions, caption_to_image = spread_captions(CAPTIONS, protocol.captions_per_item)
    return evaluate_embeddings(
        np.repeat(fan(1), 3, axis=0),
        fan(3)[[angles[caption] for caption in captions]],
        protocol=protocol,
        caption_to_image=caption_to_image,
        text_ids=number_texts(captions) if protocol.shared_caption == "all" else None,
    ).metrics


def test_a_caption_of_several_images_is_right_for_its_own_alone():
    # The gallery is grass (of 0), trees, sand, grass (of 2); the two grass tie, and stand in this order.
    metrics = seen_alike("instance")
    assert metrics["image_to_text/mean_rank"] == pytest.approx((1 + 4 + 2) / 3)
    assert metrics["text_to_image/mean_rank"] == pytest.approx((1 + 1 + 2 + 3) / 4)


def test_instance_shared_by_hand():
    metrics = seen_alike("instance-shared")
    assert metrics["image_to_text/mean_rank"] == pytest.approx((1 + 4 + 1) / 3)  # image 2 finds the grass of image 0
    assert metrics["image_to_text/recall@1"] == pytest.approx(2 / 3)
    assert metrics["text_to_image/mean_rank"] == pytest.approx((1 + 1 + 2 + 1) / 4)  # its grass finds image 0


def test_instance_tie_aware_by_hand():
    metrics = seen_alike("instance-tie-aware")
    assert metrics["image_to_text/mean_rank"] == pytest.approx((1.5 + 4 + 1.5) / 3)
    assert metrics["image_to_text/recall@1"] == pytest.approx((1 / 2 + 0 + 1 / 2) / 3)
    assert metrics["text_to_image/mean_rank"] == pytest.approx(2)  # all images are tied
    assert metrics["text_to_image/median_rank"] == 2
    assert metrics["text_to_image/recall@2"] == pytest.approx(2 / 3)
    both = seen_alike("instance-tie-aware", shared_caption="all")
    assert both["image_to_text/recall@1"] == pytest.approx(2 / 3)
    assert both["text_to_image/mean_rank"] == pytest.approx((4 / 3 + 2 + 2 + 4 / 3) / 4)


def test_instance_five_by_hand():
    # Eight grass (three of image 0, five of image 2), two trees, five sand: queries weigh as often as they count.
    metrics = seen_alike("instance-five")
    assert metrics["image_to_text/mean_rank"] == pytest.approx((1 + 11 + 4) / 3)
    assert metrics["text_to_image/mean_rank"] == pytest.approx((5 * 1 + 5 * 2 + 5 * 3) / 15)
    assert seen_alike("instance", captions_per_item=1)["image_to_text/mean_rank"] == pytest.approx((1 + 3 + 2) / 3)


def test_every_named_protocol_gives_another_number():
    random = np.random.default_rng(0)
    centres = random.standard_normal((40, 16))

    def split(items, noise):
        """What 16-bit codes of images, of two captions each, and of both together are signs of; and the classes."""
        labels = random.integers(0, 40, items)
        scenes = centres[labels] + noise * random.standard_normal((items, 16))
        images, captions = (
            view + noise * random.standard_normal(view.shape) for view in (scenes, np.repeat(scenes, 2, axis=0))
        )
        return images, captions, images + captions[::2], labels

    def pack(values):
        return np.packbits(values > 0, axis=1)

    gallery_images, gallery_captions, gallery_pairs, gallery_labels = split(1100, noise=0.5)

    def train(protocol):
        """The gallery of protocols that search the training split."""
        whole = protocol.gallery_view == "pair"
        return {
            "gallery_image_embeds": pack(gallery_pairs if whole else gallery_images),
            "gallery_text_embeds": pack(gallery_pairs if whole else gallery_captions[::2]),
            "gallery_labels": gallery_labels,
        }

    # Every second item has its second caption, and every third caption is that of another item too.
    captions_of = [[f"{2 * i % 42}", f"{2 * i + 1}"][: 1 + i % 2] for i in range(60)]

    # Test data as two epochs embed them: the first is better on them, the second, say, on validation data.
    epochs = [split(60, noise=0.5), split(60, noise=0.9)]
    numbers = {}
    for name in list_protocols():
        protocol = get_protocol(name)
        each = protocol.captions == "each"
        values = []
        for images, captions, _, labels in epochs:
            texts, caption_to_image = spread_captions(captions_of, protocol.captions_per_item)
            rows = {
                "image_embeds": images,
                "text_embeds": captions[[int(text) for text in texts]] if each else captions[::2],
            }
            result = evaluate_embeddings(
                **{modality: pack(values) for modality, values in rows.items()},
                labels=labels,
                protocol=protocol,
                caption_to_image=caption_to_image if each else None,
                text_ids=number_texts(texts) if protocol.shared_caption == "all" else None,
                real_valued=rows,
                **(train(protocol) if protocol.gallery == "train" else {}),
            )
            values.append(result.metrics[result.primary_metric])
        numbers[name] = max(values) if protocol.selection_split == "test" else values[1]
    assert len({round(value, 9) for value in numbers.values()}) == len(list_protocols()), numbers
    assert min(numbers.values()) > 0


@pytest.mark.parametrize("name", list_protocols())
def test_a_protocol_says_all_of_itself_in_one_line(name):
    protocol = get_protocol(name)
    line = protocol.describe()
    assert line.startswith(f"{name}: ")
    assert "\n" not in line
    assert f"epoch chosen on the {protocol.selection_split} split" in line


def test_no_two_protocols_describe_themselves_alike():
    lines = {get_protocol(name).describe().split(": ", 1)[1] for name in list_protocols()}
    assert len(lines) == len(list_protocols())


def test_a_change_is_in_the_name_and_in_the_line():
    changed = get_protocol("djsrh", cut_off=100, ties="expected")
    assert changed.name == "djsrh(cut_off=100, ties='expected')"
    assert "mAP@100" in changed.describe()
    assert "in expectation" in changed.describe()
    assert get_protocol("djsrh", cut_off=50) is get_protocol("djsrh")
    assert get_protocol(changed) is changed


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        ("instance", "a text that several images carry word for word is right for its own alone"),
        ("instance-shared", "word for word is right for each of them"),
        ("instance-five", "a text each, 5 an item: its own again in turn, or the first 5;"),
        ("instance-tie-aware", "R@1, R@5, R@10, their mean mR, and the rank of the own pair; a text"),
    ],
)
def test_pair_protocols_say_what_they_do_with_repeated_captions(name, statement):
    assert statement in get_protocol(name).describe()


def test_an_unknown_protocol_gets_near_names():
    with pytest.raises(UnknownNameError, match=r"no protocol named 'dcmhh'.*Did you mean 'dcmh'"):
        get_protocol("dcmhh")


def test_patterns_list_protocols():
    assert list_protocols("*-test-*") == ["dscmr-test-selected"]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("dscmr", {"cutoff": 5}, "no field 'cutoff'"),
        ("dscmr", {"cut_off": 1e99}, r"cut_off=1e\+99 is made of whole numbers"),
        ("dscmr", {"cut_off": True}, "cut_off=True is made of whole numbers"),
        ("instance", {"at": (1, 2.5)}, r"at=\(1, 2\.5\) is made of whole numbers"),
        ("dscmr", {"cut_off": 0}, "from 1"),
        ("dscmr", {"ties": "random"}, "ties='random' is not one of 'order', 'expected'"),
        ("dscmr", {"ap_divisor": "k"}, "ap_divisor='k' is not one of"),
        ("djsrh", {"ties": "expected", "zero_hit": "drop"}, "depends on the order of ties"),
        ("djsrh", {"keep_own_pair": False}, "not in the training split"),
        ("instance", {"gallery": "train"}, "own pair in the gallery"),
        ("dscmr", {"shared_caption": "all"}, "single captions and own pairs"),
        ("instance-shared", {"captions": "set"}, "single captions and own pairs"),
        ("instance-five", {"captions": "set"}, "captions_per_item is a number, from 1, with captions='each'"),
        ("instance", {"captions_per_item": 0}, "captions_per_item is a number, from 1"),
        ("djsrh", {"captions": "each", "captions_per_item": 5}, "gallery='test'"),
        ("instance", {"shared_caption": "any"}, "shared_caption='any' is not one of 'own', 'all'"),
        ("instance", {"at": ()}, "such as at="),
    ],
)
def test_contradictions_are_refused(name, changes, message):
    with pytest.raises(InputError, match=message):
        get_protocol(name, **changes)


def test_names_with_changes_can_be_read():
    assert get_protocol("djsrh(cut_off=100, ties='expected')") == get_protocol("djsrh", cut_off=100, ties="expected")
    assert get_protocol("dscmr-tie-aware(focus=0)") == get_protocol("dscmr-tie-aware", focus=0)
    assert get_protocol("instance(at=(1, 2))").at == (1, 2)
    assert get_protocol("dscmr(focus=1.0)").name == "dscmr(focus=1)"
    assert get_protocol("dscmr(focus=0)", focus=0.25).name == "dscmr(focus=0.25)"
    assert get_protocol("dscmr(focus=0)", ties="expected").name == "dscmr(focus=0, ties='expected')"
    assert get_protocol("dscmr()") is get_protocol("dscmr")
    assert get_protocol("dscmr(focus=0)", focus=None) == get_protocol("dscmr")
    assert get_protocol("dscmr(focus=0, ties='expected')", focus=None).name == "dscmr(ties='expected')"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("dscmr(", "write them as in Python, such as 'dscmr(focus=0)'"),
        ("dscmr(focus)", "write them as in Python"),
        ("dscmr(0)", "write them as in Python"),
        ("dscmr(**{})", "write them as in Python"),
        ("dscmr(focus=0)(ties='expected')", "write them as in Python"),
        ("dscmr(focus=nan)", "write them as in Python"),
        ("dscmr(focus=__import__('os'))", "write them as in Python"),
        ("dscmr(at=1)", "a value of a wrong type"),
        ("dscmr(cut_off='x')", "is made of whole numbers"),
        ("dscmr(fokus=0)", "has no field 'fokus'"),
        ("dscmrr(focus=0)", "There is no protocol named 'dscmrr'"),
    ],
)
def test_names_with_other_changes_are_refused(name, reason):
    with pytest.raises(CMRError, match=re.escape(reason)):
        get_protocol(name)


@pytest.mark.parametrize("focus", [-0.1, 2, float("nan"), "a", True, [0.5]])
def test_a_focus_is_a_number_from_0_to_1(focus):
    with pytest.raises(InputError, match=r"is not a number from 0 \(class part alone\) to 1"):
        get_protocol("dscmr", focus=focus)


def test_a_focus_is_part_of_the_description():
    assert "weigh" not in get_protocol("dscmr").describe()
    assert (
        get_protocol("dscmr", focus=0.25)
        .describe()
        .endswith("queries weigh the class part by 0.75 and the item part by 0.25")
    )


def test_a_name_of_ones_own_may_have_brackets():
    mine = Protocol(name="mine (v2)", source="ours")
    assert get_protocol(mine, focus=1).name == "mine (v2)(focus=1)"


def test_protocols_that_differ_have_names_that_differ():
    names = {get_protocol("dscmr", focus=focus).name for focus in (1, 1.0, 0.9999999, 0.99999991)}
    assert names == {"dscmr(focus=1)", "dscmr(focus=0.9999999)", "dscmr(focus=0.99999991)"}
    assert {get_protocol(name).name for name in names} == names
