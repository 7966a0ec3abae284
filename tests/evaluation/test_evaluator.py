from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from closeness import assert_figures
from cmr_hub.errors import InputError, UnknownNameError
from cmr_hub.evaluation import RetrievalEvaluator, evaluate_embeddings, get_protocol, number_texts, ranking
from cmr_hub.evaluation.metrics import expected_average_precision

LABELS = np.array([0, 1, 1, 2, 0, 1])


def real(seed=0, rows=6, dim=4):
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def packed(seed=0, rows=6, nbytes=2):
    return np.random.default_rng(seed).integers(0, 256, (rows, nbytes), dtype=np.uint8)


def with_value(array, value):
    array = array.copy()
    array[3, 1] = value
    return array


def test_multi_hot_and_integer_classes_agree():
    one_hot = np.eye(3, dtype=bool)[LABELS]
    by_number, by_column = (evaluate_embeddings(real(0), real(1), labels) for labels in (LABELS, one_hot))
    assert_figures(by_number.metrics, by_column.metrics)


def test_length_of_rows_does_not_matter():
    stretched = real(1) * np.array([1, 5, 0.01, 1e30, 1, 3], np.float32)[:, None]
    a, b = evaluate_embeddings(real(0), real(1), LABELS), evaluate_embeddings(real(0), stretched, LABELS)
    assert a.metrics == pytest.approx(b.metrics)


def test_embeddings_given_are_left_as_they_were():
    images = real(0)
    evaluate_embeddings(images, real(1), LABELS)
    np.testing.assert_array_equal(images, real(0))


@pytest.mark.parametrize("embeds", [real, packed])
@pytest.mark.parametrize("changes", [{}, {"cut_off": 3, "at": (1, 5)}, {"ties": "expected", "at": (2,)}])
def test_numbers_do_not_depend_on_block_size(monkeypatch, embeds, changes):
    protocol = get_protocol("dscmr", **changes)
    images, texts = embeds(0, rows=60), embeds(1, rows=60)
    labels = np.random.default_rng(2).integers(0, 5, 60)
    curves = evaluate_embeddings(images, texts, labels, protocol=protocol, curves=True)
    monkeypatch.setattr(ranking, "BLOCK_BYTES", 1)
    monkeypatch.setattr(ranking, "SHARED_BYTES", 0)
    again = evaluate_embeddings(images, texts, labels, protocol=protocol, curves=True)
    assert again.metrics == pytest.approx(curves.metrics)
    for way in curves.curves:
        for name, points in curves.curves[way].items():
            assert again.curves[way][name] == pytest.approx(points)


def test_class_protocol_reports_precision_and_ndcg_on_request():
    metrics = evaluate_embeddings(real(0), real(1), LABELS, protocol=get_protocol("dscmr", at=(2,))).metrics
    names = {"map", "precision@2", "ndcg@2"}
    assert set(metrics) == names | {f"{way}/{name}" for way in ("image_to_text", "text_to_image") for name in names}
    assert metrics["map"] == pytest.approx((metrics["image_to_text/map"] + metrics["text_to_image/map"]) / 2)


SHARED_TEXTS = ["a", "b", "a", "c", "a", "b", "d", "c", "b", "e", "f", "c"]  # of two captions an image, six images


def slow_pair_ranks(similarity, right):
    """Rank from 1 of the first right item of each query, ties in gallery order."""
    ranks = []
    for scores, wanted in zip(similarity, right, strict=True):
        order = sorted(range(len(scores)), key=lambda item: (-scores[item], item))
        ranks.append(1 + next(rank for rank, item in enumerate(order) if wanted[item]))
    return np.array(ranks)


@pytest.mark.parametrize("shared_caption", ["own", "all"])
@pytest.mark.parametrize("block_bytes", [1, 2**27])
def test_pair_metrics_are_the_loop_over_items(monkeypatch, shared_caption, block_bytes):
    monkeypatch.setattr(ranking, "BLOCK_BYTES", block_bytes)
    images, caption_to_image = real(0), np.arange(12) // 2
    vectors = real(1, rows=6)
    texts = vectors[["abcdef".index(text) for text in SHARED_TEXTS]]  # equal texts have equal embeddings
    result = evaluate_embeddings(
        images,
        texts,
        protocol=get_protocol("instance", at=(1, 3), shared_caption=shared_caption),
        caption_to_image=caption_to_image,
        text_ids=number_texts(SHARED_TEXTS) if shared_caption == "all" else None,
    )
    right = np.zeros((6, 12), bool)
    for image in range(6):
        carried = {text for text, of in zip(SHARED_TEXTS, caption_to_image, strict=True) if of == image}
        for column, text in enumerate(SHARED_TEXTS):
            right[image, column] = text in carried if shared_caption == "all" else caption_to_image[column] == image
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (images, vectors)]
    similarity = (unit[0] @ unit[1].T)[:, ["abcdef".index(text) for text in SHARED_TEXTS]]
    recalls = []
    for way, ranks in (
        ("image_to_text", slow_pair_ranks(similarity, right)),
        ("text_to_image", slow_pair_ranks(similarity.T, right.T)),
    ):
        assert result.metrics[f"{way}/mean_rank"] == pytest.approx(ranks.mean())
        assert result.metrics[f"{way}/median_rank"] == np.floor(np.median(ranks))
        for k in (1, 3):
            recalls.append((ranks <= k).mean())
            assert result.metrics[f"{way}/recall@{k}"] == pytest.approx(recalls[-1])
    assert result.metrics["mean_recall"] == pytest.approx(np.mean(recalls))
    assert next(iter(result.metrics)) == "image_to_text/mean_recall"  # tables take the first for the primary one


def test_tie_aware_pair_metrics_are_the_mean_over_orders_of_the_gallery():
    images, texts, caption_to_image = packed(0, nbytes=1) & 3, packed(1, rows=12, nbytes=1) & 3, np.arange(12) // 2
    found = evaluate_embeddings(
        images, texts, protocol=get_protocol("instance-tie-aware", at=(1, 3)), caption_to_image=caption_to_image
    )
    random, by_order = np.random.default_rng(2), []
    for _ in range(400):
        items, captions = random.permutation(6), random.permutation(12)
        row_of = np.argsort(items)
        by_order.append(
            evaluate_embeddings(
                images[items],
                texts[captions],
                protocol=get_protocol("instance", at=(1, 3)),
                caption_to_image=row_of[caption_to_image[captions]],
            ).metrics
        )
    for name in found.metrics:
        if not name.endswith("median_rank"):
            spread = [metrics[name] for metrics in by_order]
            assert found.metrics[name] == pytest.approx(np.mean(spread), abs=5 * np.std(spread) / 20 + 1e-12), name


def test_curves_of_real_embeddings_are_by_rank_and_of_codes_also_by_radius():
    curves = evaluate_embeddings(real(0), real(1), LABELS, curves=True).curves["image_to_text"]
    assert set(curves) == {"recall", "precision"}
    assert curves["recall"] == pytest.approx(np.arange(11) / 10)
    curves = evaluate_embeddings(packed(0), packed(1), LABELS, curves=True).curves["text_to_image"]
    assert len(curves["lookup_precision"]) == 17
    assert curves["lookup_recall"][-1] == curves["mean_lookup_recall"][-1] == 1
    assert curves["lookup_precision"] != curves["mean_lookup_precision"]


def test_a_result_is_printable_and_json():
    result = evaluate_embeddings(real(0), real(1), LABELS, protocol="dscmr")
    assert result.protocol.describe() in result.table()
    assert f"{result.metrics['map']:.4f}" in result.table()
    data = json.loads(json.dumps(result.to_dict()))
    assert data["metrics"] == result.metrics
    assert data["protocol"]["name"] == "dscmr"
    assert data["protocol_description"] == result.protocol.describe()
    assert data["primary_metric"] == "map"


@pytest.mark.parametrize(
    ("embeds", "said"),
    [
        (np.full((9, 4), 3.0), True),
        (np.zeros((9, 4)), True),
        (np.full((9, 2), 7, np.uint8), True),
        (np.ones((9, 4)) + 1e-4 * np.eye(9, 4), True),
        (np.eye(9), False),
        (np.ones((9, 4)) + np.eye(9, 4), False),
    ],
)
def test_identical_embeddings_are_a_number_and_a_warning(embeds, said, caplog):
    result = evaluate_embeddings(embeds, embeds, np.arange(9) % 3)
    assert 0 < result.metrics["map"] <= 1
    named = [record.message.partition(":")[0] for record in caplog.records if "identical" in record.message]
    assert named == ["image_embeds", "text_embeds"] * said


def test_no_query_with_a_hit_is_a_zero_not_a_nan():
    labels, gallery_labels = np.zeros(6, int), np.ones(6, int)
    result = evaluate_embeddings(
        real(0),
        real(1),
        labels,
        protocol=get_protocol("hashnet", cut_off=3),
        gallery_image_embeds=real(2),
        gallery_text_embeds=real(3),
        gallery_labels=gallery_labels,
    )
    assert result.metrics["map"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_embeds": with_value(real(), np.nan)}, "image_embeds has a NaN or infinite value in row 3"),
        ({"text_embeds": with_value(real(), np.inf)}, "text_embeds has a NaN or infinite value in row 3"),
        ({"text_embeds": with_value(real().astype(float), 1e300)}, "text_embeds has a NaN or infinite"),
        ({"image_embeds": real(rows=0)}, "image_embeds has no rows"),
        ({"image_embeds": real()[0]}, r"image_embeds has shape \(4,\)"),
        ({"image_embeds": real().astype(int)}, "image_embeds has dtype int64"),
        ({"text_embeds": real(rows=5)}, "6 images and 5 texts"),
        (
            {"text_embeds": real(dim=5)},
            "queries are real-valued vectors of width 4 and the gallery real-valued vectors of width 5",
        ),
        (
            {"text_embeds": packed(nbytes=4)},
            "real-valued vectors of width 4 and the gallery codes of 32 bits: embed both",
        ),
        (
            {"image_embeds": packed(nbytes=2), "text_embeds": packed(nbytes=4)},
            "queries are codes of 16 bits and the gallery codes of 32 bits",
        ),
        ({"protocol": "dscmr-reranked"}, "re-ranks binary codes, and these embeddings are real-valued"),
        (
            {"protocol": "dscmr-reranked", "image_embeds": packed(0), "text_embeds": packed(1)},
            "re-ranks: it takes the real-valued image_embeds, text_embeds too",
        ),
        ({"labels": None}, "labels is missing: protocol 'dscmr'"),
        ({"labels": LABELS[:5]}, r"labels has shape \(5,\); it must be \(6,\)"),
        ({"labels": LABELS - 1}, "an item without a class"),
        ({"labels": LABELS / 2}, "integers"),
        ({"labels": real()}, "multi-hot"),
        ({"protocol": "djsrh"}, "gallery_image_embeds is missing"),
        ({"protocol": get_protocol("dscmr", cut_off=7)}, "looks at 7 ranks, but the gallery has 6 items"),
        ({"protocol": get_protocol("dscmr", at=(1, 8))}, "looks at 8 ranks"),
        ({"protocol": "instance"}, "looks at 10 ranks"),
        ({"gallery_labels": LABELS}, "has no use for gallery_labels"),
        ({"caption_to_image": np.arange(6)}, "an item's captions as one text"),
        ({"protocol": get_protocol("instance", at=(1,)), "curves": True}, "curves are of classes"),
        ({"protocol": get_protocol("instance-shared", at=(1,))}, "say in text_ids which texts are equal"),
        ({"protocol": get_protocol("instance", at=(1,)), "text_ids": np.arange(6)}, "leave text_ids out"),
        (
            {"protocol": get_protocol("instance-shared", at=(1,)), "text_ids": np.arange(5)},
            "text_ids must be 6 integers",
        ),
        ({"protocol": get_protocol("instance-five", at=(1,))}, "counts 5 captions an item, and image 0 has 1"),
    ],
)
def test_bad_input_is_named(arguments, message):
    arguments = {"image_embeds": real(0), "text_embeds": real(1), "labels": LABELS, **arguments}
    with pytest.raises(InputError, match=message):
        evaluate_embeddings(**arguments)


@pytest.mark.parametrize(
    ("caption_to_image", "message"),
    [
        (None, "6 images and 8 texts"),
        (np.zeros(7, int), "8 integers"),
        (np.zeros(8), "8 integers"),
        (np.array([0, 1, 2, 3, 4, 5, 6, 0]), "rows of the 6 images"),
        (np.array([-1, 1, 2, 3, 4, 5, 0, 0]), "rows of the 6 images"),
        (np.array([0, 1, 2, 3, 4, 0, 0, 0]), "Image 5 has no caption"),
    ],
)
def test_bad_caption_to_images_are_named(caption_to_image, message):
    with pytest.raises(InputError, match=message):
        evaluate_embeddings(
            real(rows=6), real(rows=8), protocol=get_protocol("instance", at=(1,)), caption_to_image=caption_to_image
        )


def test_a_gallery_of_other_classes_is_named():
    with pytest.raises(InputError, match="number of classes"):
        evaluate_embeddings(
            real(0),
            real(1),
            np.eye(3)[LABELS],
            protocol="dcmh",
            gallery_image_embeds=real(2),
            gallery_text_embeds=real(3),
            gallery_labels=np.eye(4)[LABELS],
        )


def test_an_unknown_protocol_is_named():
    with pytest.raises(UnknownNameError, match="Did you mean 'dscmr'"):
        evaluate_embeddings(real(0), real(1), LABELS, protocol="dscrm")


class WordRetriever:
    """A retriever whose texts are the mean of their captions' vectors, and whose images are feature rows."""

    def encode_images(self, images):
        return np.asarray(images, np.float32)

    def encode_texts(self, texts):
        if isinstance(texts, np.ndarray):
            return texts
        sets = [[text] if isinstance(text, str) else text for text in texts]
        return np.array([np.mean([self.vector(caption) for caption in captions], axis=0) for captions in sets])

    @staticmethod
    def vector(caption):
        return np.array([caption.count(letter) for letter in "abc"], np.float32)


class PairRetriever(WordRetriever):
    """Embeds a pair as the sum of its sides."""

    def encode_pairs(self, images, texts):
        return self.encode_images(images) + self.encode_texts(texts)


def test_a_gallery_of_whole_pairs_is_embedded_as_such():
    protocol = get_protocol("djsrh-pair", cut_off=3)
    queries = pairs(image_features=np.eye(3, dtype=np.float32)[[1, 2, 0]].tolist())
    train = pairs()
    result = RetrievalEvaluator(queries, protocol, gallery_dataset=train)(PairRetriever())
    both = PairRetriever().encode_pairs(np.eye(3), train["texts"][:])
    expected = evaluate_embeddings(
        np.eye(3, dtype=np.float32)[[1, 2, 0]],
        PairRetriever().encode_texts(train["texts"][:]),
        np.arange(3),
        protocol=protocol,
        gallery_image_embeds=both,
        gallery_text_embeds=both,
        gallery_labels=np.arange(3),
    )
    assert_figures(result.metrics, expected.metrics)


def pairs(**columns):
    features = Features(
        {
            "image_features": List(Value("float32")),
            "texts": List(Value("string")),
            "label": ClassLabel(names=["x", "y", "z"]),
        }
    )
    columns = {
        "image_features": np.eye(3, dtype=np.float32).tolist(),
        "texts": [["a", "aab"], ["b"], ["cc", "c", "ccb"]],
        "label": [0, 1, 2],
        **columns,
    }
    return Dataset.from_dict(columns, features=features)


def slow_reranked(codes, other, rows, other_rows, labels, first):
    """mAP of codes whose first hits (ties in gallery order) are put in order by cosine; the rest in expected order."""
    bits, other_bits = np.unpackbits(codes, axis=1), np.unpackbits(other, axis=1)
    values = []
    for query in range(len(codes)):
        distance = (bits[query] != other_bits).sum(axis=1)
        nearest = sorted(range(len(other)), key=lambda i: (distance[i], i))[:first]
        nearest.sort(key=lambda i: -float(rows[query] @ other_rows[i] / np.linalg.norm(other_rows[i])))
        place = {item: rank for rank, item in enumerate(nearest)}
        keys = [place.get(item, first + distance[item]) for item in range(len(other))]
        hits = labels == labels[query]
        order = sorted(range(len(other)), key=lambda i: keys[i])
        ranked = np.array([hits[i] for i in order])[None]
        values.append(expected_average_precision(ranked, np.array([keys[i] for i in order])[None])[0])
    return np.mean(values)


def test_reranking_puts_the_first_hits_in_order_by_cosine():
    labels = np.random.default_rng(5).integers(0, 4, 30)
    images, texts = packed(0, rows=30, nbytes=1), packed(1, rows=30, nbytes=1)
    rows, other = real(2, rows=30), real(3, rows=30)
    protocol = get_protocol("dscmr-reranked", rerank=7)
    result = evaluate_embeddings(
        images, texts, labels, protocol=protocol, real_valued={"image_embeds": rows, "text_embeds": other}
    )
    assert result.metrics["image_to_text/map"] == pytest.approx(slow_reranked(images, texts, rows, other, labels, 7))
    assert result.metrics["text_to_image/map"] == pytest.approx(slow_reranked(texts, images, other, rows, labels, 7))
    assert result.similarity == "Hamming, the first 7 by cosine"


def test_reranking_everything_is_ranking_by_cosine():
    rows = {"image_embeds": real(2, rows=30), "text_embeds": real(3, rows=30)}
    labels = np.random.default_rng(5).integers(0, 4, 30)
    codes = [packed(0, rows=30), packed(1, rows=30)]
    by_code = evaluate_embeddings(*codes, labels, protocol=get_protocol("dscmr-reranked", rerank=30), real_valued=rows)
    assert by_code.metrics == pytest.approx(evaluate_embeddings(**rows, labels=labels).metrics)


def test_reranking_refuses_rows_that_are_not_the_codes():
    rows = {"image_embeds": real(2), "text_embeds": real(3, rows=5)}
    with pytest.raises(InputError, match="real-valued image_embeds and text_embeds do not belong to the codes"):
        evaluate_embeddings(packed(0), packed(1), LABELS, protocol="dscmr-reranked", real_valued=rows)


def test_the_evaluator_measures_a_retriever_on_a_split():
    result = RetrievalEvaluator(pairs())(WordRetriever())
    assert result.metrics["map"] == 1
    assert result.queries == {"image_to_text": 3, "text_to_image": 3}


def test_the_evaluator_takes_captions_one_by_one_where_the_protocol_does():
    result = RetrievalEvaluator(pairs(), get_protocol("instance", at=(1, 2)))(WordRetriever())
    assert result.queries == {"image_to_text": 3, "text_to_image": 6}
    assert result.metrics["text_to_image/recall@1"] == 1


def test_equal_captions_are_embedded_once_and_tie():
    class Rounding(WordRetriever):
        """Rounds a text by where it stands among the others, as a network does in batches."""

        def encode_texts(self, texts):
            rows = super().encode_texts(texts)
            rows[:, 0] += 1e-4 * np.arange(len(rows))
            return rows

    dataset = pairs(texts=[["a b", "c c"], ["a b", "b b"], ["a b", "a a"]])
    for protocol in (get_protocol("instance", at=(1,)), get_protocol("instance-shared", at=(1,))):
        exact, rounded = (RetrievalEvaluator(dataset, protocol)(kind()).metrics for kind in (WordRetriever, Rounding))
        assert exact == rounded


def test_the_evaluator_counts_as_many_captions_as_the_protocol_does():
    result = RetrievalEvaluator(pairs(), get_protocol("instance-five", at=(1, 2)))(WordRetriever())
    assert result.queries == {"image_to_text": 3, "text_to_image": 15}


def test_the_evaluator_tells_which_captions_are_equal():
    dataset = pairs(texts=[["b", "c"], ["b ", "c c"], ["c"]])  # the first item is embedded apart from its image
    own, shared = (
        RetrievalEvaluator(dataset, get_protocol(name, at=(1,)))(WordRetriever()).metrics
        for name in ("instance", "instance-shared")
    )
    assert own["text_to_image/recall@1"] == pytest.approx(2 / 5)
    assert shared["text_to_image/recall@1"] == pytest.approx(4 / 5)


def test_the_evaluator_searches_the_training_split_where_the_protocol_does():
    train = pairs(label=[1, 0, 2])
    result = RetrievalEvaluator(pairs(), get_protocol("djsrh", cut_off=1), gallery_dataset=train)(WordRetriever())
    assert result.metrics["map"] == pytest.approx(1 / 3)  # labels of the training split count
    assert result.gallery == {"image_to_text": 3, "text_to_image": 3}


def test_the_evaluator_takes_text_features():
    dataset = pairs().remove_columns("texts").add_column("text_features", np.eye(3, dtype=np.float32).tolist())
    assert RetrievalEvaluator(dataset)(WordRetriever()).metrics["map"] == 1


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (pairs(), {"protocol": "djsrh"}, "searches the training split: pass it as gallery_dataset"),
        (pairs(), {"gallery_dataset": pairs()}, "has no use for a gallery_dataset"),
        (pairs().select([]), {}, "no rows"),
        *(
            (
                pairs().add_column("text_features", [[1.0]] * 3),
                {"protocol": name, "text_column": "text_features"},
                "goes by single captions",
            )
            for name in ("instance-shared", "instance-five")
        ),
        (pairs().remove_columns("texts"), {}, "no column 'texts' or 'text_features'"),
        (pairs(), {"image_column": "image"}, "no column image"),
        (pairs().add_column("text_features", [[1.0]] * 3), {}, "both 'texts' and 'text_features'"),
        (pairs().remove_columns("label"), {}, "has no classes"),
        (pairs(label=[0, None, 1]), {}, "Item 1 of the data set has no class"),
        (
            pairs(),
            {
                "protocol": "dcmh",
                "gallery_dataset": pairs().cast_column("label", ClassLabel(names=["y", "x", "z"])),
            },
            "same classes",
        ),
    ],
)
def test_the_evaluator_names_what_a_data_set_lacks(dataset, options, message):
    with pytest.raises(InputError, match=message):
        RetrievalEvaluator(dataset, **options)


def test_the_evaluator_names_an_item_without_text():
    with pytest.raises(InputError, match="Item 1 of the data set has no text"):
        RetrievalEvaluator(pairs(texts=[["a"], [], ["b"]]))(WordRetriever())


@pytest.mark.slow
def test_memory_does_not_grow_with_all_pairs_of_queries_and_items():
    """As 10,000 by 10,000 within one gigabyte, by a quarter of all that: half of the pairs at once take more."""
    script = """
        import resource
        import numpy as np
        from cmr_hub.evaluation import evaluate_embeddings, ranking

        ranking._THREADS = 2  # whatever the machine has
        ranking.BLOCK_BYTES //= 4
        ranking._COARSE_ITEMS = 4096  # as in larger galleries, where sorting needs most

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

        random = np.random.default_rng(0)
        images, texts = (random.standard_normal((5_000, 64), dtype=np.float32) for _ in range(2))
        labels = random.integers(0, 10, 5_000)
        before = peak()
        result = evaluate_embeddings(images, texts, labels)
        print(peak() - before, result.metrics["map"])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    gigabytes, value = map(float, done.stdout.split())
    assert gigabytes < 0.25
    assert value == pytest.approx(0.1, abs=0.005)  # chance
