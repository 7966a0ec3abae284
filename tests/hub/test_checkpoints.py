"""Listing the bundled checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cmr_hub.errors import CheckpointError
from cmr_hub.hub import list_checkpoints, read_inputs


class TestListing:
    def test_what_a_checkpoint_says_of_itself(self, bundled: Path):
        cca, dscmr = list_checkpoints()
        assert (dscmr.repo_id, dscmr.method, dscmr.dataset) == ("cmr/dscmr-emoji", "dscmr", "emoji")
        assert (dscmr.license, dscmr.image_input, dscmr.text_input) == ("apache-2.0", "efficientnet-lite0", "glove")
        assert dscmr.accepts_raw_images
        assert [(result.metric_type, result.metric_value) for result in dscmr.metrics] == [("map_i2t", 0.62)]
        assert (cca.repo_id, cca.accepts_raw_images, cca.accepts_raw_texts) == ("cmr/cca-wiki", False, True)

    @pytest.mark.parametrize("pattern", ["cca*", "cmr/*wiki", "*-wiki"])
    def test_a_pattern_matches_name_or_id(self, bundled: Path, pattern: str):
        assert [info.repo_id for info in list_checkpoints(pattern)] == ["cmr/cca-wiki"]

    def test_nothing_bundled(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("cmr_hub.utils.hub.bundled_folder", lambda: tmp_path / "absent")
        assert list_checkpoints() == []

    @pytest.mark.parametrize("name", ["README.md", "processor_config.json"])
    def test_a_damaged_one_is_named(self, bundled: Path, name: str):
        (bundled / "cca-wiki" / name).unlink()
        with pytest.raises(CheckpointError, match=f"cca-wiki .*{name}"):
            list_checkpoints()


@pytest.mark.parametrize("encoder", [3, "glove", ["glove"], {"name": 3}])
def test_encoders_that_are_none_are_no_raw_error(tmp_path, encoder):
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_encoder": {}, "text_encoder": encoder}))
    with pytest.raises(CheckpointError, match=r"processor_config\.json describes no text encoder"):
        read_inputs(tmp_path)
