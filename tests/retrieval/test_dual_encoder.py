"""transformers' dual encoders behind a Retriever: tiny ones with initial weights, in local folders."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

import cmr_hub
from closeness import assert_alike
from cmr_hub.errors import CheckpointError, CheckpointNotFoundError, InputError
from cmr_hub.evaluation import evaluate, get_protocol
from cmr_hub.hub import push_folder
from cmr_hub.modeling.dual_encoder import DualEncoderConfig
from hub_server import TOKEN
from small_checkpoints import contents
from toys import image_dataset, image_files

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "green", "blue", "bird", "square", "paint"]
TEXTS = ["a red bird", "blue", "a green square paint", "red red red red red"]
TOWER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
VISION = {**TOWER, "image_size": 32, "patch_size": 8}
TEXT = {**TOWER, "vocab_size": len(WORDS), "max_position_embeddings": 12}
IMAGES = [
    Image.fromarray(values) for values in np.random.default_rng(0).integers(0, 256, (11, 40, 50, 3), dtype=np.uint8)
]


def make_clip(seed=0):
    torch.manual_seed(seed)
    text = {**TEXT, "eos_token_id": 3}
    return transformers.CLIPModel(transformers.CLIPConfig(vision_config=VISION, text_config=text, projection_dim=8))


def make_siglip():
    torch.manual_seed(0)
    text = {**TEXT, "projection_size": 16}
    return transformers.SiglipModel(transformers.SiglipConfig(vision_config=VISION, text_config=text))


def make_bert():
    return transformers.BertModel(transformers.BertConfig(**TEXT))


def save(model, folder):
    """What `save_pretrained` leaves of a model, an image processor and a tokenizer."""
    model.save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizer(str(folder / "vocab.txt"), model_max_length=12).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    models = {"clip": make_clip(), "siglip": make_siglip(), "bert": make_bert()}
    return {name: save(model, root / name) for name, model in models.items()}


@torch.no_grad()
def own_embeddings(folder, padding):
    """Both sides by transformers alone."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    pixels = transformers.AutoImageProcessor.from_pretrained(folder)(images=IMAGES, return_tensors="pt")
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(TEXTS, padding=padding, return_tensors="pt")
    image = model.get_image_features(**pixels).pooler_output
    text = model.get_text_features(**tokens).pooler_output
    return F.normalize(image).numpy(), F.normalize(text).numpy()


@pytest.mark.parametrize(("name", "padding"), [("clip", "longest"), ("siglip", "max_length")])
def test_embeddings_are_the_models_own(folders, name, padding):
    retriever = cmr_hub.from_pretrained(folders[name])
    image, text = own_embeddings(folders[name], padding)
    np.testing.assert_allclose(retriever.encode_images(IMAGES), image, atol=1e-5)
    np.testing.assert_allclose(retriever.encode_texts(TEXTS), text, atol=1e-5)
    np.testing.assert_allclose(retriever.encode_images(IMAGES[::-1], batch_size=3), image[::-1], atol=1e-5)
    np.testing.assert_allclose(retriever.encode_images(IMAGES[4:5]), image[4:5], atol=1e-5)
    np.testing.assert_allclose(retriever.encode_texts(TEXTS[:1]), text[:1], atol=1e-5)


def test_siglip_depends_on_padding(folders):
    """Else the test above would not tell the two apart."""
    longest, full = (own_embeddings(folders["siglip"], padding)[1] for padding in ("longest", "max_length"))
    assert abs(longest - full).max() > 1e-3


def test_the_scale_of_the_logits_is_the_models_own(folders):
    clip = transformers.CLIPModel.from_pretrained(folders["clip"])
    assert cmr_hub.from_pretrained(folders["clip"]).model.log_scale == clip.logit_scale


def test_one_model_serves_both_sides(folders):
    processor = cmr_hub.from_pretrained(folders["clip"]).processor
    assert processor.image_encoder.network.model is processor.text_encoder.network


def test_the_round_trip_stores_the_model_once(folders, tmp_path):
    retriever = cmr_hub.from_pretrained(folders["clip"])
    retriever.save_pretrained(tmp_path / "saved")
    weights = sorted(str(path.relative_to(tmp_path / "saved")) for path in tmp_path.rglob("*.safetensors"))
    assert weights == ["dual_encoder/model.safetensors", "model.safetensors"]
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    (tmp_path / "saved").rename(tmp_path / "moved")
    loaded = cmr_hub.from_pretrained(tmp_path / "moved")
    assert_alike(loaded.encode_images(IMAGES), retriever.encode_images(IMAGES))
    assert_alike(loaded.encode_texts(TEXTS), retriever.encode_texts(TEXTS))
    assert loaded.fingerprint == retriever.fingerprint
    assert loaded.processor.image_encoder.network.model is loaded.processor.text_encoder.network
    loaded.save_pretrained(tmp_path / "again")
    assert cmr_hub.from_pretrained(tmp_path / "again").fingerprint == retriever.fingerprint


def test_auto_classes_open_what_was_saved(folders, tmp_path):
    cmr_hub.from_pretrained(folders["clip"]).save_pretrained(tmp_path)
    assert isinstance(transformers.AutoModel.from_pretrained(tmp_path), cmr_hub.DualEncoderModel)
    assert isinstance(transformers.AutoProcessor.from_pretrained(tmp_path), cmr_hub.CMRProcessor)


def test_fingerprints_tell_models_of_one_name_apart(folders, tmp_path):
    other = tmp_path / "clip"
    other.mkdir()
    save(make_clip(seed=1), other)
    assert cmr_hub.from_pretrained(other).fingerprint != cmr_hub.from_pretrained(folders["clip"]).fingerprint


def test_a_gallery_searches(folders, tmp_path, private_cache):
    retriever = cmr_hub.from_pretrained(folders["clip"])
    gallery = cmr_hub.Gallery.from_dataset(image_dataset(tmp_path), retriever)
    query, path = retriever.encode_texts(["a red square"]), image_files(tmp_path)
    nearest = (query @ retriever.encode_images(path).T).argmax()
    assert gallery.search(text="a red square", k=1)[0].position == nearest
    assert gallery.search(image=path[1], k=3)[0].position == 1
    gallery.save_pretrained(tmp_path / "gallery")
    again = cmr_hub.Gallery.from_pretrained(tmp_path / "gallery")
    np.testing.assert_array_equal(again.embeds["image"], gallery.embeds["image"])


def test_it_is_measured_like_any_checkpoint(folders, tmp_path, private_cache):
    retriever, items = cmr_hub.from_pretrained(folders["siglip"]), image_dataset(tmp_path)
    result = evaluate(retriever, items, get_protocol("instance", at=(1, 2)))
    texts, own = [text for texts in items["texts"] for text in texts], np.arange(6) // 2  # two of each image
    scores = retriever.encode_texts(texts) @ retriever.encode_images(image_files(tmp_path)).T
    ranks = (scores > scores[np.arange(6), own][:, None]).sum(axis=1)
    assert result.metrics["text_to_image/recall@2"] == pytest.approx((ranks < 2).mean())


def test_bad_input_is_named_by_position(folders):
    retriever = cmr_hub.from_pretrained(folders["clip"])
    with pytest.raises(InputError, match="image 2 of 2"):
        retriever.encode_images([IMAGES[0], b"no image"])
    with pytest.raises(InputError, match="come as a list"):
        retriever.encode_texts("a red bird")
    assert retriever.has_known_tokens(["a bird", "", "xyz"]) == [True, False, False]


def test_a_model_of_one_side_is_refused(folders):
    with pytest.raises(CheckpointError, match=r"model_type 'bert', which is no method .* and no dual encoder"):
        cmr_hub.from_pretrained(folders["bert"])


def test_an_unknown_id_is_answered_with_where_it_was_looked_for(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointNotFoundError, match=r"nobody/no-clip' \(looked in .*not in the local cache"):
        cmr_hub.from_pretrained("nobody/no-clip")


def test_incomplete_weights_are_refused(tmp_path):
    save(make_clip(), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("visual_projection.weight")
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"incomplete.*visual_projection"):
        cmr_hub.from_pretrained(tmp_path)


def test_pickled_weights_are_not_read(tmp_path):
    model = make_clip()
    save(model, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="could not be loaded"):
        cmr_hub.from_pretrained(tmp_path)


def test_images_that_need_more_than_pixel_values_are_refused(tmp_path):
    save(make_clip(), tmp_path)
    transformers.Siglip2ImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"more of an image than pixel values: .*spatial_shapes"):
        cmr_hub.from_pretrained(tmp_path)


def test_both_sides_have_one_width():
    with pytest.raises(StrictDataclassError, match="one width for both sides"):
        DualEncoderConfig(image_dim=3)


def test_a_repo_of_the_hub_is_referred_to_by_id_and_revision(folders, tmp_path, hub_server, monkeypatch):
    hub_server.connect(monkeypatch, tmp_path / "home")
    published = tmp_path / "clip"
    shutil.copytree(folders["clip"], published)
    (published / "README.md").write_text("---\nlicense: mit\n---\n# CLIP\n")
    push_folder(published, "me/clip", token=TOKEN, revision="v1", required=("config.json",))
    retriever = cmr_hub.from_pretrained("me/clip", revision="v1")
    image, text = own_embeddings(folders["clip"], "longest")
    np.testing.assert_allclose(retriever.encode_images(IMAGES), image, atol=1e-5)
    retriever.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved" / "dual_encoder").exists()
    saved = json.loads((tmp_path / "saved" / "processor_config.json").read_text())
    assert saved["text_encoder"]["name"] == "transformers/me/clip"
    assert saved["text_encoder"]["revision"] == "v1"
    loaded = cmr_hub.from_pretrained(tmp_path / "saved")
    np.testing.assert_allclose(loaded.encode_texts(TEXTS), text, atol=1e-5)
    assert loaded.fingerprint == retriever.fingerprint


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("preprocessor_config.json", "size", {"height": 64, "width": 64}),
        ("tokenizer_config.json", "model_max_length", "/etc/passwd"),
        ("config.json", "attn_implementation", "kernels-community/x"),
        ("config.json", "projection_dim", 10**12),
    ],
)
def test_files_that_do_not_fit_the_model_are_no_raw_error(folders, tmp_path, file, field, value):
    folder = shutil.copytree(folders["clip"], tmp_path / "clip")
    (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), field: value}))
    with pytest.raises(CheckpointError, match=str(folder)):
        cmr_hub.from_pretrained(folder).encode_texts(["a red bird"])


def test_a_private_repo_is_fetched_as_it_is_asked_for(folders, tmp_path, connected):
    connected.add_repo("me/clip", contents(folders["clip"]), private=True)
    connected.add_repo("me/models", {f"best/{name}": each for name, each in contents(folders["clip"]).items()})
    expected = cmr_hub.from_pretrained(folders["clip"]).encode_texts(TEXTS)
    options = {"cache_dir": tmp_path / "models", "token": TOKEN}
    for repo, subfolder in (("me/clip", ""), ("me/models", "best")):
        retriever = cmr_hub.from_pretrained(repo, subfolder=subfolder, **options)
        np.testing.assert_allclose(retriever.encode_texts(TEXTS), expected, atol=1e-5)
    assert not list((tmp_path / "home").rglob("*.safetensors"))
    retriever.save_pretrained(tmp_path / "saved")  # an encoder refers to whole repos
    connected.stop()
    np.testing.assert_allclose(cmr_hub.from_pretrained(tmp_path / "saved").encode_texts(TEXTS), expected, atol=1e-5)
    cmr_hub.from_pretrained("me/clip", local_files_only=True, **options)


def requests_for(server, repo):
    return [path for _, path in server.requests if repo in path]


def test_a_saved_one_fetches_its_model_as_it_is_asked_for(folders, tmp_path, connected):
    connected.add_repo("me/clip", contents(folders["clip"]), private=True)
    options = {"cache_dir": tmp_path / "models", "token": TOKEN}
    retriever = cmr_hub.from_pretrained("me/clip", **options)
    expected = retriever.encode_texts(TEXTS)
    retriever.save_pretrained(tmp_path / "saved")
    with pytest.raises(CheckpointError, match="'me/clip' could not be loaded"):
        cmr_hub.from_pretrained(tmp_path / "saved")
    np.testing.assert_allclose(
        cmr_hub.from_pretrained(tmp_path / "saved", **options).encode_texts(TEXTS), expected, atol=1e-5
    )
    assert not list((tmp_path / "home").rglob("*.safetensors"))
    connected.requests.clear()
    options = {"cache_dir": tmp_path / "models", "local_files_only": True}
    processor = cmr_hub.CMRProcessor.from_pretrained(tmp_path / "saved", **options)
    assert processor(text=TEXTS[:1], images=IMAGES[:1])["text_features"].shape == (1, 8)
    with pytest.raises(CheckpointError, match="'me/clip' could not be loaded"):
        cmr_hub.from_pretrained(tmp_path / "saved", cache_dir=tmp_path / "empty", local_files_only=True)
    assert requests_for(connected, "me/clip") == []


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_arguments_of_loading_are_those_of_other_checkpoints(folders, tmp_path, name):
    shutil.copytree(folders[name], tmp_path / "models" / "best")
    options = {"subfolder": "best", "device_map": "cpu", "local_files_only": True, "trust_remote_code": True}
    retriever = cmr_hub.from_pretrained(tmp_path / "models", dtype="bfloat16", **options)
    expected = cmr_hub.from_pretrained(folders[name])
    assert retriever.model.dtype == torch.bfloat16
    for model in (retriever, cmr_hub.from_pretrained(folders[name], dtype="float16")):
        np.testing.assert_allclose(model.encode_texts(TEXTS), expected.encode_texts(TEXTS), atol=0.01)
        np.testing.assert_allclose(model.encode_images(IMAGES), expected.encode_images(IMAGES), atol=0.01)
        assert model.encode_texts(TEXTS).dtype == np.float32
    retriever.save_pretrained(tmp_path / "saved")
    assert cmr_hub.from_pretrained(tmp_path / "saved", dtype="auto").model.dtype == torch.bfloat16
    assert cmr_hub.from_pretrained(tmp_path / "saved").model.dtype == torch.float32


def test_auto_model_gives_the_rows_of_the_retriever(folders, tmp_path):
    retriever = cmr_hub.from_pretrained(folders["clip"])
    retriever.save_pretrained(tmp_path)
    processor, model = (
        auto.from_pretrained(tmp_path) for auto in (transformers.AutoProcessor, transformers.AutoModel)
    )
    output = model.eval()(**processor(text=TEXTS, images=IMAGES, return_tensors="pt"))
    np.testing.assert_allclose(output.text_embeds.detach(), retriever.encode_texts(TEXTS), atol=1e-5)
    np.testing.assert_allclose(output.image_embeds.detach(), retriever.encode_images(IMAGES), atol=1e-5)
