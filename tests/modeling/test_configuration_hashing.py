import pytest
from huggingface_hub.errors import StrictDataclassError

from cmr_hub import HashingConfig


@pytest.mark.parametrize("bits", [8, 24, 256])
def test_whole_bytes_are_code_lengths(bits):
    assert HashingConfig(embed_dim=bits).embed_dim == bits


@pytest.mark.parametrize(("bits", "near"), [(12, 8), (63, 64), (264, 256), (1024, 256)])
def test_other_lengths_are_refused_with_the_nearest(bits, near):
    with pytest.raises(StrictDataclassError) as refusal:
        HashingConfig(embed_dim=bits)
    assert f"embed_dim is {bits}. The nearest is {near}." in str(refusal.value.__cause__)
