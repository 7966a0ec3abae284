"""Names come from source text, entry points and decorators; each source's mistakes are told apart."""

import re
import subprocess
import sys
import textwrap

import pytest

import cmr_hub
from cmr_hub.data import DATASETS
from cmr_hub.encoders import ENCODERS
from cmr_hub.errors import DuplicateNameError, InputError, PluginError, UnknownNameError
from cmr_hub.indexes import INDEXES
from cmr_hub.methods import METHODS
from cmr_hub.utils.registry import Registry

REGISTRIES = {"method": METHODS, "data set": DATASETS, "index": INDEXES, **ENCODERS}
BASE = """
    class Shape:
        sides = 0
"""
BUILT_IN = """
    from shapes.base import Shape
    from shapes.registry import register_shape

    @register_shape("square", display_order=2)
    @register_shape("rectangle", "box")
    class Square(Shape):
        \"\"\"Four sides. This docstring has lines that look like code:

        class of its own
        def also
        \"\"\"

        sides = 4
        title = (
            "A square, "
            "in two lines"
        )

        def area(self): ...

    @register_shape("triangle", display_order=1)
    class Triangle(Shape):
        sides = 3
"""
REGISTRY = """
    from cmr_hub.utils.registry import Registry

    SHAPES = Registry(
        "shape", decorator="register_shape", package="shapes", group="shapes.plugins", base="shapes.base:Shape"
    )

    def register_shape(*names, **options):
        return SHAPES.register(*names, **options)
"""
PLUGIN = "from shapes.base import Shape\n\nclass Circle(Shape):\n    pass\n"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on `sys.path` with the package `shapes`, whose modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path / "shapes/__init__.py", "")
    write(tmp_path / "shapes/base.py", BASE)
    write(tmp_path / "shapes/registry.py", REGISTRY)
    write(tmp_path / "shapes/polygons.py", BUILT_IN)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("shapes", "round", "oval"):
            del sys.modules[name]


def write(path, source):
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(source))


def install(site, package, version="1.0", source=PLUGIN, **entry_points):
    """What installing a package leaves behind: its module, and its entry points."""
    (site / f"{package}.py").write_text(source)
    listed = "\n".join(f"{name} = {value}" for name, value in entry_points.items())
    write(
        site / f"{package}-{version}.dist-info/METADATA",
        f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n",
    )
    (site / f"{package}-{version}.dist-info/entry_points.txt").write_text(f"[shapes.plugins]\n{listed}\n")


def shapes():
    from shapes.registry import SHAPES

    return SHAPES


def test_names_and_facts_of_source_files_need_no_import(site):
    found = shapes()
    assert list(found) == ["triangle", "square", "box", "rectangle"]
    assert found.list("*le") == ["rectangle", "triangle"]
    assert found.fact("square", "title") == "A square, in two lines"
    assert found.folder("square") == site / "shapes"
    assert "shapes.polygons" not in sys.modules
    assert found["box"] is found["square"]
    assert found["box"].__name__ == "Square"


def test_a_fact_that_the_class_inherits_is_asked_of_the_class(site):
    (site / "shapes/lines.py").write_text(
        "from shapes.base import Shape\nfrom shapes.registry import register_shape\n\n\n"
        '@register_shape("line")\nclass Line(Shape):\n    pass\n'
    )
    assert shapes().fact("line", "sides") == 0


def test_two_classes_of_the_package_with_one_name(site):
    write(site / "shapes/others.py", BUILT_IN)
    with pytest.raises(DuplicateNameError, match=r"shapes\.others:Square and by shapes\.polygons:Square"):
        "square" in shapes()  # noqa: B015


def test_a_decorated_class_is_known_at_once(site):
    from shapes.base import Shape

    @shapes().register("star", display_order=0)
    class Star(Shape):
        sides = 10

    assert shapes()["star"] is Star
    assert next(iter(shapes())) == "star"
    assert shapes().fact("star", "sides") == 10


@pytest.mark.parametrize("name", ["square", "star"])
def test_a_decorated_class_may_not_take_a_name(site, name):
    from shapes.base import Shape

    shapes().register("star")(type("Star", (Shape,), {}))
    with pytest.raises(DuplicateNameError, match=rf"'{name}'.*:(Square|Star) and by .*:Other"):
        shapes().register(name)(type("Other", (Shape,), {}))


def test_a_class_that_is_defined_again_replaces_itself(site):
    """As when a notebook's cell is run twice."""
    from shapes.base import Shape

    for _ in range(2):
        cls = shapes().register("star")(type("Star", (Shape,), {}))
    assert shapes()["star"] is cls


@pytest.mark.parametrize("thing", [int, "a string", Registry])
def test_only_classes_of_the_right_kind_are_registered(site, thing):
    with pytest.raises(TypeError, match=r"is no shape: it must be a class that derives from shapes\.base\.Shape"):
        shapes().register("thing")(thing)


@pytest.mark.parametrize("name", ["", "a star", "star\n", 5, None, Registry])
def test_what_cannot_be_a_name_is_refused(site, name):
    with pytest.raises(InputError, match=rf"{re.escape(repr(name))} cannot name a shape"):
        shapes().register(name)


def test_a_display_order_that_is_no_number_is_refused(site):
    with pytest.raises(InputError, match=r"display_order of star must be a whole number, not 'first'"):
        shapes().register("star", display_order="first")


def test_nothing_is_registered_where_one_of_several_names_is_taken(site):
    from shapes.base import Shape

    with pytest.raises(DuplicateNameError, match="'square'"):
        shapes().register("star", "square")(type("Star", (Shape,), {}))
    assert "star" not in shapes()


def test_a_plugin_is_imported_when_it_is_asked_for(site):
    install(site, "round", circle="round:Circle")
    assert list(shapes()) == ["triangle", "square", "box", "circle", "rectangle"]
    assert "circle" in shapes()
    assert "round" not in sys.modules
    assert shapes()["circle"] is sys.modules["round"].Circle
    assert shapes().folder("circle") == site


def test_a_plugin_may_name_a_module_of_decorated_classes(site):
    decorated = PLUGIN.replace(
        "class", 'from shapes.registry import register_shape\n\n@register_shape("circle")\nclass'
    )
    install(site, "round", source=decorated, circle="round")
    assert shapes()["circle"] is sys.modules["round"].Circle


def test_a_plugin_whose_module_registers_nothing(site):
    install(site, "round", circle="round")
    with pytest.raises(PluginError, match=r"module 'round' registers no shape of this name\. Update"):
        shapes()["circle"]


def test_two_plugins_of_one_name_are_both_named_and_the_rest_works(site):
    install(site, "round", circle="round:Circle", disc="round:Circle")
    install(site, "oval", "2.0", circle="oval:Circle")
    with pytest.raises(
        DuplicateNameError, match=r"'circle'.*(round 1\.0|oval 2\.0).* and by .*(round 1\.0|oval 2\.0)"
    ):
        shapes()["circle"]
    assert shapes()["disc"].__name__ == "Circle"
    with pytest.warns(RuntimeWarning, match=r"oval:Circle"):
        assert [name for name, _ in shapes().importable()] == ["triangle", "square", "box", "disc", "rectangle"]


def test_importing_one_of_two_plugins_of_one_name(site):
    decorated = PLUGIN.replace(
        "class", 'from shapes.registry import register_shape\n\n@register_shape("circle")\nclass'
    )
    install(site, "round", source=decorated, circle="round:Circle")
    install(site, "oval", circle="oval:Circle")
    with pytest.raises(DuplicateNameError, match=r"oval:Circle \(package oval 1\.0\) and by round:Circle"):
        import round  # noqa: F401


def test_a_plugin_cannot_take_a_built_in_name(site):
    install(site, "round", square="round:Circle")
    with pytest.warns(
        RuntimeWarning, match=r"shapes\.polygons:Square and by round:Circle \(package round 1\.0\).*built-in"
    ):
        names = list(shapes())
    assert names.count("square") == 1
    assert shapes()["square"].__name__ == "Square"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import a_library_that_is_missing", "ModuleNotFoundError"),
        ("raise RuntimeError('broken')", "RuntimeError: broken"),
        ("Disc = 1", "AttributeError"),
        ("Circle = 1", "TypeError: 1 is no shape"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("class Panic(BaseException): pass\nraise Panic('out of memory')", "Panic: out of memory"),
    ],
)
def test_a_plugin_that_fails_is_named_and_the_rest_works(site, source, reason):
    install(site, "round", source=source, circle="round:Circle")
    with pytest.raises(PluginError, match=rf"'circle' comes from the installed package round 1\.0 .*{reason}"):
        shapes()["circle"]
    with pytest.warns(RuntimeWarning, match=r"package round 1\.0"):
        assert [name for name, _ in shapes().importable()] == ["triangle", "square", "box", "rectangle"]
    assert shapes()["triangle"].sides == 3


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("sm", "semantic_matching"),
        ("semantic-matching", "semantic_matching"),
        ("SM", "semantic_matching"),
        ("DSCMR-Hash", "dscmr_hash"),
        ("isohash", "isotropic"),
        ("CM-GANs", "cm_gans"),
        ("SCM (semantic)", "scm_semantic"),
        ("sh", "sh"),  # a name comes before titles
    ],
)
def test_names_in_other_spellings_and_titles(spelling, name):
    assert METHODS.resolve(spelling) == name
    assert METHODS.find(spelling).name == name
    assert METHODS[spelling] is METHODS[name]


def test_spellings_of_other_registries():
    assert DATASETS["Flickr8k"] is DATASETS["flickr8k"]
    assert INDEXES["KD-tree"] is INDEXES["kd_tree"]
    assert list(METHODS) == list(dict.fromkeys(METHODS))
    assert "sm" not in METHODS


def test_unknown_names_get_near_ones():
    with pytest.raises(UnknownNameError, match=r"There is no method named 'dscrm'. Did you mean 'dscmr'"):
        METHODS["dscrm"]
    with pytest.raises(UnknownNameError, match=r"Known: .*cca, .*dscmr"):
        METHODS["zzz"]


@pytest.mark.parametrize("kind", REGISTRIES)
def test_what_is_read_from_the_source_is_what_is_registered(kind):
    registry = REGISTRIES[kind]
    assert len(registry) > 5
    for registration in registry.built_in():
        cls = registry[registration.name]
        assert registration.target == f"{cls.__module__}:{cls.__qualname__}"
        assert dict(registration.facts) == {fact: getattr(cls, fact) for fact in registration.facts}


def test_list_methods_takes_patterns():
    assert [method.name for method in cmr_hub.list_methods()] == sorted(METHODS)
    assert [method.name for method in cmr_hub.list_methods("dscm?")] == ["dscmr"]


def test_methods_are_shown_with_the_one_to_start_with_first_and_codes_last():
    names = list(METHODS)
    assert names[0] == "unified"
    binary = [METHODS.fact(name, "representation") == "binary" for name in names]
    assert binary == sorted(binary)


@pytest.mark.parametrize("method", cmr_hub.list_methods(), ids=lambda method: method.name)
def test_every_method_is_public_and_says_what_it_is(method):
    model_class = METHODS[method.name]
    assert model_class.config_class.model_type == method.name
    assert getattr(cmr_hub, model_class.__name__) is model_class
    assert getattr(cmr_hub, model_class.config_class.__name__) is model_class.config_class
    assert re.fullmatch(r".+, .+ (19|20)\d\d", method.paper)
    assert method.supervision in ("supervised", "unsupervised")
    assert method.representation in ("real-valued", "binary")


def test_a_method_is_registered_under_its_model_type():
    with pytest.raises(TypeError, match=r"registered as 'other', but the model_type of CCAConfig is 'cca'"):
        cmr_hub.register_method("other")(type("OtherModel", (cmr_hub.CCAModel,), {"config_class": cmr_hub.CCAConfig}))
    assert "other" not in METHODS


def test_a_decorator_without_a_name_is_refused():
    with pytest.raises(InputError, match="cannot name a method"):
        cmr_hub.register_method(cmr_hub.CCAModel)
    with pytest.raises(TypeError, match="is no data set"):
        cmr_hub.register_dataset("other")(dict)


def test_names_and_refusals_wait_for_no_torch():
    code = """
        import sys
        import cmr_hub
        from cmr_hub.data import list_datasets
        from cmr_hub.encoders import ENCODERS, list_encoders
        from cmr_hub.indexes import INDEXES

        assert list_datasets() and list_encoders("image") and list(INDEXES) and cmr_hub.list_methods()
        assert "dscmr" in cmr_hub.METHODS and "DSCMRModel" in dir(cmr_hub)
        for registry in (cmr_hub.METHODS, ENCODERS["text"], INDEXES):
            try:
                registry["none such"]
            except cmr_hub.errors.UnknownNameError:
                pass
        heavy = {"torch", "numpy", "transformers", "datasets", "huggingface_hub"} & set(sys.modules)
        sys.exit(", ".join(heavy) or None)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
