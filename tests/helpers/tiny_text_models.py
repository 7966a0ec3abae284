"""A tiny text network with initial weights, as models of transformers and of sentence-transformers are saved."""

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "bird", "car", "##s", "!"]
DIM = 16
NAMES = {
    "Transformer": "sentence_transformers.models.Transformer",
    "Pooling": "sentence_transformers.models.Pooling",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
    "Dense": "sentence_transformers.models.Dense",
    "Own": "my_module.Own",
}


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@cache
def _network() -> TemporaryDirectory:
    """A folder with a BERT and its tokenizer, made once."""
    folder = TemporaryDirectory()
    path = Path(folder.name)
    (path / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizer(str(path / "vocab.txt"), model_max_length=32).save_pretrained(path)
    sizes = {"hidden_size": DIM, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
    config = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.BertModel(config).save_pretrained(path)
    return folder


def text_network(folder: Path) -> Path:
    """A folder with a network and its tokenizer, without modules."""
    return Path(shutil.copytree(_network().name, folder))


def sentence_model(folder: Path, modules=("Transformer", "Pooling", "Normalize"), pooling=None, **settings) -> Path:
    """A folder with a model of sentence-transformers that has these modules and settings."""
    text_network(folder)
    paths = ["" if name == "Transformer" else f"{index}_{name}" for index, name in enumerate(modules)]
    entries = [
        {"idx": index, "name": str(index), "path": path, "type": NAMES[name]}
        for index, (name, path) in enumerate(zip(modules, paths, strict=True))
    ]
    write_json(folder / "modules.json", entries)
    pooling = pooling or {"pooling_mode_mean_tokens": True}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": DIM, **pooling})
    write_json(folder / "2_Normalize" / "config.json", {})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 8, **settings})
    return folder
