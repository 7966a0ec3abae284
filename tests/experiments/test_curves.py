import json

import numpy as np
import pytest

from cmr_hub.cli.main import main as cmr
from cmr_hub.evaluation import evaluate_embeddings
from cmr_hub.experiments.curves import LOOKUPS, draw, points


def measured(codes):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 40)
    if codes:
        embeds = [rng.integers(0, 256, (40, 2), dtype=np.uint8) for _ in range(2)]
    else:
        embeds = [rng.standard_normal((40, 4)).astype(np.float32) for _ in range(2)]
    return evaluate_embeddings(*embeds, labels, curves=True)


@pytest.mark.parametrize(("lookup", "names"), LOOKUPS.items())
def test_a_line_a_checkpoint_and_for_codes_a_second_row_of_radii(lookup, names):
    results = {"floats": measured(codes=False), "codes": measured(codes=True)}
    panels = draw(results, lookup).axes
    assert [panel.get_title() for panel in panels] == [
        "image → text: ranking",
        "text → image: ranking",
        f"image → text: lookup by radius, {lookup}",
        f"text → image: lookup by radius, {lookup}",
    ]
    assert [line.get_label() for line in panels[0].lines] == ["floats", "codes"]
    (line,) = panels[3].lines
    curve = results["codes"].curves["text_to_image"]
    np.testing.assert_array_equal(line.get_xydata(), np.transpose([curve[name] for name in names]))
    assert len(line.get_xydata()) == 17


def test_floats_alone_have_no_radius():
    assert len(draw({"floats": measured(codes=False)}).axes) == 2


def test_the_points_name_their_protocol():
    content = json.loads(json.dumps(points({"codes": measured(codes=True)})))
    assert content["protocol"] == "dscmr"
    assert len(content["curves"]["codes"]["image_to_text"]["precision"]) == 11


@pytest.mark.slow
def test_the_command_draws_bundled_checkpoints(monkeypatch, tmp_path):
    words = ["curves", "--checkpoints", "cmr/dscmr-emoji", "--dataset", "emoji", "--output", str(tmp_path / "pr.png")]
    assert cmr([*words, "--json", str(tmp_path / "pr.json")]) == 0
    assert (tmp_path / "pr.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "pr.json").read_text())["protocol"] == "dcmh"
