"""Everything that changes a retrieval number, said in one place. The papers' definitions differ: each has a name."""

from __future__ import annotations

import ast
import logging
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args, get_type_hints

from cmr_hub.errors import InputError, UnknownNameError
from cmr_hub.utils.deprecation import renamed_arguments

logger = logging.getLogger(__name__)

APDivisor = Literal["hits", "relevant", "min"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How queries, gallery and relevance are set up, and how a number is made of them.

    Attributes:
        name: what users call it.
        source: the paper or code whose numbers it reproduces.
        relevance: "class" (a shared class: mAP) or "pair" (the item's own other half: R@k and ranks).
        gallery: what is searched: the split of the queries ("test", the test queries against the test items) or the
            training split ("train").
        gallery_view: what a gallery item is embedded from: the side that is looked for ("target"), or the whole item
            ("pair"), by methods that have one code for both sides.
        captions: "set" (an item's captions make one text) or "each" (every caption is a text of its own).
        captions_per_item: of captions that are a text each, how many an item counts with: it repeats its own in turn,
            or only the first count. `None` for those that it has, once.
        shared_caption: a caption that stands word for word (but for case and white space) on several images counts as
            found at its own image alone ("own": where it stands on another, it is a wrong answer that ties with the
            right one) or at each that carries it ("all").
        cut_off: AP looks at this many first ranks; `None` for all.
        ap_divisor: what the sum of precisions is divided by: the hits inside the cut, all relevant items, or the
            smaller of k and all.
        zero_hit: a query without a hit inside the cut counts as AP 0 ("zero") or not at all ("drop").
        ties: equal scores stand in gallery order ("order"), or the expectation over all their orders ("expected"; the
            median rank is then that of the queries' expected ranks).
        rerank: of binary codes, so many first hits are put in order by the real-valued embeddings instead.
        keep_own_pair: whether an item's own other half stays in the gallery.
        selection_split: the split whose score chose the epoch; "test" is what some references do, and flatters.
        at: numbers of ranks k: R@k of pairs and their mean, P@k and nDCG@k of classes.
        focus: how queries weigh embeddings of two parts, from 0 (the class part alone) to 1 (the item part alone);
            `None` compares embeddings as they are.

    Raises:
        InputError: on construction, where two fields contradict each other or a value is not one of its choices.
    """

    name: str
    source: str
    relevance: Literal["class", "pair"] = "class"
    gallery: Literal["test", "train"] = "test"
    gallery_view: Literal["target", "pair"] = "target"
    captions: Literal["set", "each"] = "set"
    captions_per_item: int | None = None
    shared_caption: Literal["own", "all"] = "own"
    cut_off: int | None = None
    ap_divisor: APDivisor = "hits"
    zero_hit: Literal["zero", "drop"] = "zero"
    ties: Literal["order", "expected"] = "order"
    rerank: int | None = None
    keep_own_pair: bool = True
    selection_split: Literal["validation", "test"] = "validation"
    at: tuple[int, ...] = ()
    focus: float | None = None

    def __post_init__(self) -> None:
        is_number = isinstance(self.focus, int | float) and not isinstance(self.focus, bool)
        if self.focus is not None and not (is_number and 0 <= self.focus <= 1):
            self._refuse(f"focus={self.focus!r} is not a number from 0 (class part alone) to 1 (item part alone)")
        for field, hint in get_type_hints(type(self)).items():
            choices = get_args(hint)
            if all(isinstance(choice, str) for choice in choices) and choices and getattr(self, field) not in choices:
                self._refuse(f"{field}={getattr(self, field)!r} is not one of {', '.join(map(repr, choices))}")
        for field in ("cut_off", "rerank", "captions_per_item", "at"):
            value = getattr(self, field)
            if any(type(number) is not int for number in (value if field == "at" else [value]) if number is not None):
                self._refuse(f"{field}={value!r} is made of whole numbers")
        if any(k < 1 for k in (*self.at, *([] if self.cut_off is None else [self.cut_off]))):
            self._refuse(f"cut_off={self.cut_off} and at={self.at} must be numbers of ranks, from 1")
        if self.rerank is not None and (self.rerank < 1 or self.relevance == "pair"):
            self._refuse("rerank is a number of first hits, from 1, of protocols with relevance='class'")
        if self.ties == "expected" and self.zero_hit == "drop" and self.cut_off is not None:
            self._refuse("which queries have a hit inside the cut depends on the order of ties; use zero_hit='zero'")
        if self.gallery == "train" and not self.keep_own_pair:
            self._refuse("a query's own pair is not in the training split; use gallery='test' or keep_own_pair=True")
        if self.gallery_view == "pair" and self.gallery == "test":
            self._refuse("gallery_view='pair' would embed the queries with their own other half; use gallery='train'")
        several = self.captions == "each" and self.gallery == "test"
        if self.captions_per_item is not None and (self.captions_per_item < 1 or not several):
            self._refuse("captions_per_item is a number, from 1, with captions='each' and gallery='test'")
        if self.shared_caption == "all" and (self.relevance == "class" or self.captions == "set"):
            self._refuse("shared_caption='all' is of single captions and own pairs: relevance='pair', captions='each'")
        if self.relevance == "pair":
            if self.gallery == "train" or not self.keep_own_pair:
                self._refuse("relevance='pair' needs each query's own pair in the gallery")
            if not self.at:
                self._refuse("relevance='pair' needs ranks to report R@k at, such as at=(1, 5, 10)")

    def _refuse(self, reason: str) -> None:
        raise InputError(f"Protocol {self.name!r} contradicts itself: {reason}.")

    @property
    def primary_metric(self) -> str:
        """The one number to compare runs by: mAP, or the mean of the R@k of both directions, which papers call mR."""
        return "map" if self.relevance == "class" else "mean_recall"

    def describe(self) -> str:
        """One line that says all of it, to stand wherever a number of this protocol does.

        Example:
        ```python
        >>> print(get_protocol("djsrh").describe()[:51])
        djsrh: mAP@50 = precisions at hits / hits in the cu
        ```
        """
        ties = "ties " + ("by gallery order" if self.ties == "order" else "in expectation")
        if self.relevance == "pair":
            parts = [
                f"{', '.join(f'R@{k}' for k in self.at)}, their mean mR, and the rank of the own pair",
                "a text that several images carry word for word is right for "
                + ("its own alone" if self.shared_caption == "own" else "each of them (case and white space aside)"),
                ties,
            ]
        else:
            divisor = {
                "hits": "hits" if self.cut_off is None else "hits in the cut",
                "relevant": "all relevant items",
                "min": "min(k, relevant items)",
            }[self.ap_divisor]
            parts = [
                f"mAP@{self.cut_off or 'all'} = precisions at hits / {divisor}",
                "relevant = shared class",
                "queries without a hit " + ("count 0" if self.zero_hit == "zero" else "are dropped"),
                ties,
                "own pair " + ("kept" if self.keep_own_pair else "left out"),
            ]
        count = self.captions_per_item
        parts += [
            "gallery = " + ("the queries' own split" if self.gallery == "test" else "the training split"),
            "an item's captions are "
            + ("one text" if self.captions == "set" else "a text each")
            + (f", {count} an item: its own again in turn, or the first {count}" if count else ""),
            f"epoch chosen on the {self.selection_split} split",
        ]
        if self.rerank is not None:
            parts.append(f"the first {self.rerank} by code are re-ranked by the real-valued embeddings")
        if self.focus is not None:
            parts.append(f"queries weigh the class part by {1 - self.focus:g} and the item part by {self.focus:g}")
        if self.gallery_view == "pair":
            parts.append("a gallery item is embedded from both its sides")
        return f"{self.name}: {'; '.join(parts)}"


_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(name="dscmr", source="Zhen et al., CVPR 2019; epoch chosen on validation data"),
        Protocol(
            name="dscmr-test-selected",
            source="Zhen et al., CVPR 2019, as its reference code runs: the epoch best on test data",
            selection_split="test",
        ),
        Protocol(
            name="dscmr-tie-aware",
            source="Zhen et al., CVPR 2019, with the expected AP of McSherry & Najork, ECIR 2008",
            ties="expected",
        ),
        Protocol(
            name="dscmr-reranked",
            source="as dscmr-tie-aware, with codes first and floats for the first 100",
            ties="expected",
            rerank=100,
        ),
        Protocol(name="djsrh", source="Su et al., ICCV 2019", gallery="train", cut_off=50),
        Protocol(
            name="djsrh-pair",
            source="Su et al., ICCV 2019, with unified codes in the gallery, as Ding et al., CVPR 2014, evaluate CMFH",
            gallery="train",
            gallery_view="pair",
            cut_off=50,
        ),
        Protocol(
            name="djsrh-tie-aware",
            source="Su et al., ICCV 2019, with the expected AP of McSherry & Najork, ECIR 2008",
            gallery="train",
            cut_off=50,
            ties="expected",
        ),
        Protocol(name="dcmh", source="Jiang & Li, CVPR 2017", gallery="train"),
        Protocol(
            name="dcmh-tie-aware",
            source="Jiang & Li, CVPR 2017, with the expected AP of McSherry & Najork, ECIR 2008",
            gallery="train",
            ties="expected",
        ),
        Protocol(
            name="dcmh-pair",
            source="Jiang & Li, CVPR 2017, with unified codes in the gallery, as Lin et al., CVPR 2015, evaluate SePH",
            gallery="train",
            gallery_view="pair",
        ),
        # The library leaves k to its caller, None meaning all; 10 is our choice.
        Protocol(name="fico-itr", source="Williams-Lekuona & Cosma, FiCo-ITR, 2024", captions="each", cut_off=10),
        # 1000 is its k for ImageNet; it takes 5000 for NUS-WIDE and COCO.
        Protocol(name="hashnet", source="Cao et al., ICCV 2017", gallery="train", cut_off=1000, zero_hit="drop"),
        Protocol(
            name="instance",
            source="Karpathy & Fei-Fei, CVPR 2015: Flickr30K and COCO, five captions an image",
            relevance="pair",
            captions="each",
            at=(1, 5, 10),
        ),
        Protocol(
            name="instance-shared",
            source="as instance, for captions such as RSICD's, many of which stand on several images; ours",
            relevance="pair",
            captions="each",
            shared_caption="all",
            at=(1, 5, 10),
        ),
        Protocol(
            name="instance-tie-aware",
            source="as instance, for codes and repeated captions, with ties in expectation; ours",
            relevance="pair",
            captions="each",
            ties="expected",
            at=(1, 5, 10),
        ),
        # RSICD's own repeats are not all in turn: of three captions it may have the first thrice. In a fifth of its
        # test images some caption counts more, or less, often than there.
        Protocol(
            name="instance-five",
            source="tables on RSICD since Yuan et al., TGRS 2022, as remembered: short sets repeat up to five",
            relevance="pair",
            captions="each",
            captions_per_item=5,
            at=(1, 5, 10),
        ),
    )
}


@renamed_arguments(captions_an_item="captions_per_item")
def get_protocol(protocol: str | Protocol, **changes: Any) -> Protocol:
    """A named protocol, as it is or with fields changed; the changes become part of its name.

    Args:
        protocol: a name of [`list_protocols`], such a name with changes, or a protocol.
        **changes: fields of [`Protocol`] and their values.

    Raises:
        UnknownNameError: no protocol has this name; near names are suggested.
        InputError: a field does not exist, the changed protocol contradicts itself, or the changes in a name are not
            written as in Python.

    Example:
    ```python
    >>> get_protocol("djsrh", cut_off=100).name
    'djsrh(cut_off=100)'
    >>> get_protocol("djsrh(cut_off=100)").cut_off
    100
    ```
    """
    if isinstance(protocol, str):
        name, written = _read_name(protocol)
        if name not in _PROTOCOLS:
            raise UnknownNameError("protocol", name, _PROTOCOLS)
        try:
            protocol = get_protocol(_PROTOCOLS[name], **written)
        except TypeError as error:  # of values that cannot be compared with numbers
            raise InputError(f"Protocol {protocol!r:.100} has a value of a wrong type: {error}.") from error
    known = {field.name for field in fields(Protocol)}
    for field in changes:
        if field not in known:
            raise InputError(f"A protocol has no field {field!r}; its fields are {', '.join(sorted(known))}.")
    changes = {field: value for field, value in changes.items() if getattr(protocol, field) != value}
    if not changes:
        return protocol
    return replace(protocol, **{"name": _changed_name(protocol.name, changes), **changes})


def fitted(protocol: Protocol, items: int) -> Protocol:
    """A protocol for a gallery that has fewer items than the protocol looks at; a warning says what changes.

    Of own pairs, R@k needs more than k items: it is 1 for any model otherwise.

    Args:
        protocol: any.
        items: of the gallery.

    Example:
    ```python
    >>> fitted(get_protocol("instance"), 6).at
    (1, 5)
    >>> fitted(get_protocol("djsrh"), 6).name
    'djsrh(cut_off=6)'
    ```
    """
    least = items - (protocol.relevance == "pair")
    changes: dict[str, Any] = {"at": tuple(k for k in protocol.at if k <= least) or (protocol.at and (1,))}
    if protocol.cut_off is not None:
        changes["cut_off"] = min(protocol.cut_off, items)
    changed = get_protocol(protocol, **changes)
    if changed.name != protocol.name:
        logger.warning("The gallery has %d items: %s is measured in place of %s.", items, changed.name, protocol.name)
    return changed


def _changed_name(name: str, changes: dict[str, Any]) -> str:
    """The name of a protocol with changes, those that it has already among them, without what they take back."""
    try:
        name, written = _read_name(name)
    except InputError:  # a name of the user's own
        written = {}
    listed = {**written, **changes}
    if written and name in _PROTOCOLS:
        named = _PROTOCOLS[name]
        listed = {field: value for field, value in listed.items() if getattr(named, field, None) != value}
    return f"{name}({', '.join(f'{field}={_written(value)}' for field, value in listed.items())})" if listed else name


def _read_name(name: str) -> tuple[str, dict[str, Any]]:
    """The name of a protocol, and the changes that stand behind it in brackets."""
    name, bracket, changes = name.partition("(")
    if not bracket:
        return name, {}
    try:
        call = ast.parse(f"changed({changes}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError("no FIELD=VALUE")
        if any(field.arg is None for field in call.keywords):
            raise ValueError("a mapping in the place of FIELD=VALUE")
        return name, {str(field.arg): ast.literal_eval(field.value) for field in call.keywords}
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise InputError(
            f"The changes of protocol {name!r} are '({changes:.60}': write them as in Python, such as "
            f"'{name}(focus=0)'."
        ) from error


def _written(value: Any) -> str:
    """A value as it stands in a name: a whole number the same, whether it was given as 1 or as 1.0."""
    short = f"{value:g}" if isinstance(value, float) else repr(value)
    return repr(value) if isinstance(value, float) and float(short) != value else short


def default_protocol(*, has_classes: bool, is_hashing: bool = False) -> Protocol:
    """The protocol of a measurement that names none: by class where the items have classes, otherwise by pair.

    Args:
        has_classes: whether the data set has class labels.
        is_hashing: whether codes are measured, whose distances tie.

    Example:
    ```python
    >>> default_protocol(has_classes=True).name, default_protocol(has_classes=False).name
    ('dscmr', 'instance')
    >>> default_protocol(has_classes=False, is_hashing=True).name
    'instance-tie-aware'
    ```
    """
    if has_classes:
        return get_protocol("dscmr")
    return get_protocol("instance-tie-aware" if is_hashing else "instance")


def list_protocols(pattern: str = "*") -> list[str]:
    """Names of the protocols, sorted, those that match a shell-style pattern.

    Example:
    ```python
    >>> list_protocols("dscmr*")
    ['dscmr', 'dscmr-reranked', 'dscmr-test-selected', 'dscmr-tie-aware']
    ```
    """
    return sorted(name for name in _PROTOCOLS if fnmatchcase(name, pattern))
