"""Search photos by everyday words: `python benchmarks/everyday_queries.py --data-dir FOLDER [--markdown FILE]`.

Embeds the test photos of Flickr8k with the photo checkpoint and writes the first hits of each query in
`everyday_queries.yaml` as a page: score, id and first caption, and what failed, as judged for the bundled weights. No
image is shown, and no query was chosen by its hits.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cmr_hub import Gallery, from_pretrained
from cmr_hub.data import load_dataset
from cmr_hub.utils.files import atomic_file
from cmr_hub.utils.markdown import markdown_table

QUERIES = Path(__file__).with_suffix(".yaml")


def page(gallery: Gallery, queries: dict[str, str], hits: int) -> str:
    """The queries with their first hits, as Markdown."""
    parts = [
        f"# Everyday queries on {len(gallery):,} photos",
        f"The first {hits} hits of `{gallery.retriever.name}` among the test photos of Flickr8k, on which it was not "
        "trained. Each hit has its score, id and first caption. Made by `python benchmarks/everyday_queries.py`.",
    ]
    for query, failed in queries.items():
        found = gallery.search(text=query, target="image", k=hits)
        rows = [[f"{hit.score:.2f}", hit.id, hit.texts[0]] for hit in found]
        table = markdown_table(["score", "photo", "caption"], rows)
        parts += [f"## {query}", table, f"Failed: {failed or 'nothing'}."]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="cmr/unified-flickr8k")
    parser.add_argument("--data-dir", type=Path, help="folder of Flickr8k; downloaded by default")
    parser.add_argument("--hits", type=int, default=5)
    parser.add_argument("--markdown", type=Path, help="also write the page here")
    options = parser.parse_args()
    photos = load_dataset("flickr8k", options.data_dir)["test"]
    gallery = Gallery.from_dataset(photos, from_pretrained(options.checkpoint))
    written = page(gallery, yaml.safe_load(QUERIES.read_text(encoding="utf-8")), options.hits)
    print(written)
    if options.markdown:
        with atomic_file(options.markdown) as scratch:
            scratch.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
