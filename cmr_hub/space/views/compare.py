"""The view that puts one question to several models, side by side, and finds questions that they disagree about."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr

from cmr_hub.data.columns import Modality
from cmr_hub.errors import CMRError
from cmr_hub.methods import LEARNS_FROM, METHODS
from cmr_hub.modeling.embeddings import described
from cmr_hub.retrieval.gallery import Gallery, Hit

from ..components import markup
from ..components.images import image_of
from ..components.session_state import QUIET, SessionState, Updates
from ..services.catalogue import Catalogue, Source
from ..services.disagreement import most_disputed
from ..services.examples import most_hits
from ..services.queries import Answer, Asked, Query, ask
from .search import TARGETS

MAX_MODELS = 4
FIRST_MODELS = 3
MAX_HITS = 20
FIRST_HITS = 6
Opened = tuple[str, str, int]  # a gallery, a model, and when the view was opened there

# A click on a hit asks from it, one on a model's button takes the model along to the search.
CLICKS = """
element.addEventListener('click', (event) => {
  const {item = null, model = null} = event.target.closest('[data-item], [data-model]')?.dataset ?? {};
  if (item !== null || model !== null) trigger('select', {item, model});
});
"""
CROSS = (
    '<svg class="cmr-cross" viewBox="0 0 16 16" role="img" aria-label="another class">'
    '<path d="M4 4l8 8M12 4l-8 8"/></svg>'
)


class CompareView:
    """The components of the view and what they do; to be made inside `gr.Blocks`.

    The model of the place bar stands first; a picker of the view's own says which others stand beside it.

    Args:
        catalogue: the galleries.
        session_state: where one is.
    """

    name = "compare"
    title = "Compare"

    def __init__(self, catalogue: Catalogue, session_state: SessionState):
        self.catalogue, self.session_state = catalogue, session_state
        self._lay_out()
        self.page = [self.opened, self.text]
        self._connect()

    def _lay_out(self) -> None:
        with gr.Row(elem_id="cmr-compare-ask"):
            self.text = gr.Textbox(
                label="Ask all of them",
                placeholder="A few words, then Enter",
                submit_btn="Find",
                max_lines=4,
                scale=4,
                min_width=280,
                elem_id="cmr-compare-text",
            )
            self.surprise = gr.Button("Surprise me", scale=1, min_width=140, elem_id="cmr-surprise")
        with gr.Row(elem_id="cmr-compare-choices"):
            self.others = gr.Dropdown(
                [],
                value=[],
                multiselect=True,
                max_choices=MAX_MODELS - 1,
                label="Beside the chosen model",
                scale=2,
                min_width=260,
                elem_id="cmr-others",
            )
            self.target = gr.Radio(
                [(title, modality) for modality, title in TARGETS.items()],
                value="image",
                label="Show me",
                min_width=180,
            )
            self.k = gr.Slider(1, MAX_HITS, value=FIRST_HITS, step=1, label="How many of each", min_width=180)
        self.columns = gr.HTML(js_on_load=CLICKS, apply_default_css=False, elem_id="cmr-columns")
        self.opened = gr.State()  # the place, too: its pickers may lag behind a state

    def _connect(self) -> None:
        session_state = self.session_state
        drawn = [self.text, self.surprise, self.others, self.target, self.k, self.columns]
        shown = [session_state.asked, *drawn]
        where = [self.others, self.target, self.k, session_state.gallery, session_state.method]
        # Models may have to be loaded first. What is asked meanwhile counts, not what the view was opened with.
        self.opened.change(self.load, [self.opened, self.others], None, **QUIET).then(
            self.show, [session_state.asked, self.opened, self.others, self.k], drawn, **QUIET
        )
        self.text.submit(self.on_text, [self.text, session_state.asked, *where], shown, **QUIET)
        self.surprise.click(self.on_surprise, [session_state.asked, *where], shown, **QUIET)
        self.columns.select(
            self.on_click, [session_state.asked, *where], [*shown, session_state.method, *session_state.going], **QUIET
        )
        gr.on(
            [self.others.input, self.target.input, self.k.input],
            self.again,
            [session_state.asked, *where],
            shown,
            trigger_mode="always_last",
            **QUIET,
        )

    def open(self, name: str, method: str, asked: Asked) -> Updates:
        """Have the question put here, too. Models that are still to be loaded do not hold up the page."""
        text = asked.query.value if asked.query.kind == "text" else ""
        return {self.opened: (name, method, time.monotonic_ns()), self.text: text}

    def load(self, opened: Opened | None, others: list[str]) -> None:
        """Have the models at hand. One that cannot be loaded says so where its answer would stand."""
        if opened is None:  # a page that loads reports the first value of a state as a change
            return
        name, method, _ = opened
        for model in self._models(name, method, others):
            with suppress(CMRError):
                self.catalogue.open(name, model)

    def show(self, asked: Asked | None, opened: Opened | None, others: list[str], k: int) -> Updates:
        """What was asked in another view, put to all models here."""
        if opened is None or asked is None:
            return gr.skip()
        name, method, _ = opened
        updates = self._answer(asked, others, k, name, method)
        del updates[self.session_state.asked]  # it is asked already
        return updates

    def on_text(self, text: str, asked: Asked | None, others: list[str], target: Modality, *where: Any) -> Updates:
        """Enter or "Find": the text is the question."""
        query = Query("text", text)
        if asked is None or asked.query.kind != "text":
            target = query.default_target
        return self._answer(_changed(asked, query, target), others, *where)

    def on_click(
        self, event: gr.EventData, asked: Asked | None, others: list[str], target: Modality, *where: Any
    ) -> Updates:
        """A hit was clicked, and is the next question; or a model, and the search goes on with it alone."""
        if event.model is not None:
            return {self.session_state.method: event.model, **self.session_state.go("search")}
        query = Query("item", event.item)
        return {**self._answer(_changed(asked, query, target), others, *where), self.text: ""}

    def on_surprise(
        self, asked: Asked | None, others: list[str], target: Modality, k: int, name: str, method: str
    ) -> Updates:
        """The next of the items that these models disagree about most."""
        galleries = [self.catalogue.open(name, each) for each in self._models(name, method, others)]
        disputed = most_disputed(galleries, galleries[0].other_modality(target), target)
        if not disputed:
            message = "These models find the same for every item that was tried. Put another one beside them."
            return {self.columns: markup.notice(message)}
        current = asked.query.value if asked is not None else None
        augmentation = disputed.index(current) + 1 if current in disputed else 0
        query = Query("item", disputed[augmentation % len(disputed)])
        return {**self._answer(_changed(asked, query, target), others, k, name, method), self.text: ""}

    def again(self, asked: Asked | None, others: list[str], target: Modality, *where: Any) -> Updates:
        """The same question, to be answered otherwise."""
        return gr.skip() if asked is None else self._answer(replace(asked, target=target), others, *where)

    def _models(self, name: str, method: str, others: Sequence[str]) -> list[str]:
        """The models that stand side by side; by default some that differ in kind."""
        sources = self.catalogue[name].sources
        beside = [other for other in others if other in sources and other != method]
        return [method, *beside][:MAX_MODELS] if beside else of_different_kinds(sources, method)

    def _answer(self, asked: Asked, others: Sequence[str], k: int, name: str, method: str) -> Updates:
        """The columns of a question, and controls that agree with it; a notice where no model answers it."""
        sources, gallery = self.catalogue[name].sources, self.catalogue.open(name, method)
        if asked.target not in gallery.embeds:
            asked = replace(asked, target=next(iter(gallery.embeds)))
        models, most = self._models(name, method, others), min(MAX_HITS, most_hits(gallery))
        here = replace(asked, k=min(k, most), label=None)
        answers = {sources[model]: self._ask(here, name, model) for model in models}
        is_answered = any(isinstance(answer, Answer) for answer in answers.values())
        targets = [(title, modality) for modality, title in TARGETS.items() if modality in gallery.embeds]
        choices = [(source.title, key) for key, source in sources.items() if key != method]
        takes_texts = any(source.takes_texts for source in answers)
        return {
            self.session_state.asked: asked if is_answered else None,  # what all refuse is no question to repeat
            self.text: gr.update(visible=takes_texts),
            self.surprise: gr.Button(visible=bool(gallery.class_names) and len(models) > 1),
            self.others: gr.update(choices=choices, value=models[1:], visible=bool(choices)),
            self.target: gr.Radio(targets, value=asked.target, visible=len(targets) > 1),
            self.k: gr.Slider(maximum=max(most, 2), value=here.k, visible=most > 1),
            self.columns: side_by_side(here.query, gallery, dict(zip(models, answers.items(), strict=True)))
            if is_answered
            else markup.notice(str(next(iter(answers.values())))),
        }

    def _ask(self, asked: Asked, name: str, model: str) -> Answer | CMRError:
        try:
            return ask(self.catalogue, asked, name, model)
        except CMRError as error:
            return error


def of_different_kinds(sources: Mapping[str, Source], method: str) -> list[str]:
    """A model, and after it others of a gallery that differ from it and from one another in kind.

    A kind is what a method learns from, and whether it gives codes. Where there are too few kinds, the next models
    follow, whatever they are.

    Args:
        sources: the gallery's models, in order.
        method: the one to start with.

    Returns:
        At most `FIRST_MODELS` keys of `sources`.

    Example:

    ```python
    >>> from cmr_hub.space.services.catalogue import Catalogue
    >>> of_different_kinds(Catalogue()["emoji"].sources, "dscmr")
    ['dscmr', 'contrastive', 'dscmr_hash']
    ```
    """
    first_of: dict[tuple[str, str], str] = {}
    for key in (method, *sources):
        model = METHODS[sources[key].method]
        first_of.setdefault((model.supervision, model.representation), key)
    return list(dict.fromkeys([*first_of.values(), *sources]))[:FIRST_MODELS]


def side_by_side(query: Query, gallery: Gallery, answers: Mapping[str, tuple[Source, Answer | CMRError]]) -> str:
    """The question, how far the answers are apart, and a column a model: its answer, or why it has none.

    Args:
        query: what was asked.
        gallery: where.
        answers: key of a model -> the model and what it answered.
    """
    columns = "".join(_column(model, *answer) for model, answer in answers.items())
    summary = _spread([answer for _, answer in answers.values() if isinstance(answer, Answer)])
    return (
        f'<section class="cmr-results" aria-label="Answers side by side"><div class="cmr-query">'
        f"{markup.asked_heading(gallery, query)}{summary}</div>"
        f'<div class="cmr-columns" style="--columns: {len(answers)}">{columns}</div></section>'
    )


def _changed(asked: Asked | None, query: Query, target: Modality) -> Asked:
    """Another question; how many hits the search shows, and of which class, stays as it is there."""
    return Asked(query, target) if asked is None else replace(asked, query=query, target=target)


def _spread(answers: Sequence[Answer]) -> str:
    """How far apart the answers are, where one can tell."""
    precisions = [answer.average_precision for answer in answers if answer.average_precision is not None]
    if len(precisions) < 2:
        return ""
    return (
        '<p class="cmr-summary"><abbr title="average precision over the whole gallery: right is what shares the '
        f'class">AP</abbr> from <b>{min(precisions):.3f}</b> to <b>{max(precisions):.3f}</b></p>'
    )


def _column(model: str, source: Source, answer: Answer | CMRError) -> str:
    title = escape(source.title)
    if isinstance(answer, CMRError):
        body = markup.notice(str(answer))
    else:
        hits = "".join(_hit(answer.gallery, hit, rank) for rank, hit in enumerate(answer.hits, 1))
        body = f'<p class="cmr-figures">{_figures(answer)}</p><ol class="cmr-column-hits">{hits}</ol>'
    return (
        f'<section class="cmr-column" aria-label="{title}"><h3>{title}</h3>{_kind(source, answer)}{body}'
        f'<button type="button" class="cmr-chip" data-model="{escape(model)}">Search with {title}</button></section>'
    )


def _kind(source: Source, answer: Answer | CMRError) -> str:
    learns = f"learns from {LEARNS_FROM[METHODS[source.method].supervision]}"
    gives = "" if isinstance(answer, CMRError) else f", {described(next(iter(answer.gallery.embeds.values())))}"
    return f'<p class="cmr-kind">{learns}{gives}</p>'


def _figures(answer: Answer) -> str:
    parts = []
    if answer.average_precision is not None:
        parts.append(f"AP <b>{answer.average_precision:.3f}</b>")
    marks = [hit.same_class for hit in answer.hits]
    if marks and None not in marks:
        parts.append(f"<b>{sum(marks)} of {len(marks)}</b> right")
    parts.append(markup.duration(answer.seconds))
    return " <i>·</i> ".join(f"<span>{part}</span>" for part in parts)


def _hit(gallery: Gallery, hit: Hit, rank: int) -> str:
    """One hit: a button that makes the item the next question, marked right or wrong where that is known."""
    image, name = image_of(gallery, hit.position), markup.name_of(gallery, hit.position)
    tile = f'<img src="{image}" alt="" loading="lazy">' if image else ""
    mark = "" if hit.same_class is None else (markup.CHECK if hit.same_class else CROSS)
    return (
        f'<li><button type="button" class="cmr-pick" data-item="{escape(hit.id)}" title="Ask from this item">'
        f'<span class="cmr-tile">{tile}</span><span class="cmr-words"><span>{escape(name)}</span></span>'
        f'<span class="cmr-meta">{mark}<span class="cmr-label">{escape(", ".join(hit.labels))}</span>'
        f'<span class="cmr-score" title="{markup.score_meaning(gallery, hit)}; rank {rank}">{hit.score:.2f}</span>'
        "</span></button></li>"
    )
