import re

import pytest

import cmr_hub
from cmr_hub.errors import UnknownNameError
from cmr_hub.methods import METHODS
from cmr_hub.utils.registry import Registry


def test_imports_when_asked():
    assert Registry("thing", {"join": "os.path:join"})["join"]("a", "b") == "a/b"


def test_unknown_names_get_near_ones():
    with pytest.raises(UnknownNameError, match=r"There is no method named 'dscrm'. Did you mean 'dscmr'"):
        METHODS["dscrm"]
    with pytest.raises(UnknownNameError, match=r"Known: .*cca, .*dscmr"):
        METHODS["zzz"]


def test_list_methods_takes_patterns():
    assert [method.name for method in cmr_hub.list_methods()] == sorted(METHODS)
    assert [method.name for method in cmr_hub.list_methods("dscm?")] == ["dscmr"]


@pytest.mark.parametrize("method", cmr_hub.list_methods(), ids=lambda method: method.name)
def test_every_method_is_public_and_says_what_it_is(method):
    model_class = METHODS[method.name]
    assert model_class.config_class.model_type == method.name
    assert getattr(cmr_hub, model_class.__name__) is model_class
    assert getattr(cmr_hub, model_class.config_class.__name__) is model_class.config_class
    assert re.fullmatch(r".+, .+ (19|20)\d\d", method.paper)
    assert method.supervision in ("supervised", "unsupervised")
    assert method.representation in ("real-valued", "binary")


def test_missing_public_name():
    with pytest.raises(AttributeError, match="no attribute 'Galery'"):
        cmr_hub.Galery  # noqa: B018
