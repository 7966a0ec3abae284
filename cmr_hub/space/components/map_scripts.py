"""What the map does in the browser: it sends to Python what is pointed at and clicked, and moves marks and classes.

Marks and classes change in the figure that is drawn already, so that it keeps its zoom. gr.Plot gives each figure an
element of its own; `whenDrawn` therefore waits for the next one, again and again.
"""

from __future__ import annotations

from .map_figure import RINGS, STAR

PAUSE = 120  # milliseconds that the pointer rests on a point before its card is fetched

WHEN_DRAWN = """
const home = element.closest('#cmr-map');
let graph = null;
const whenDrawn = (then) => {
  const look = () => {
    const found = home.querySelector('#cmr-map-plot .js-plotly-plot');
    if (!found?.on || found === graph) return;
    graph = found;
    then();
  };
  new MutationObserver(look).observe(home, {childList: true, subtree: true});
  look();
};
"""

# On the card: what is pointed at is shown there.
POINTING = (
    WHEN_DRAWN
    + f"""
let timer = null;
const send = (event, {{points: [point]}}) => {{
  const modality = point?.data.meta.modality;
  if (modality) trigger(event, {{row: point.customdata, modality}});
}};
whenDrawn(() => {{
  graph.on('plotly_hover', (found) => {{
    clearTimeout(timer);
    timer = setTimeout(() => send('input', found), {PAUSE});
  }});
  graph.on('plotly_unhover', () => clearTimeout(timer));
  graph.on('plotly_click', (found) => {{
    clearTimeout(timer);
    send('select', found);
  }});
}});
"""
)

# On the question: its position and those of its nearest are marked.
MARKING = (
    WHEN_DRAWN
    + f"""
const mark = () => {{
  const sent = element.querySelector('[data-marks]')?.dataset.marks;
  const {{star, rings}} = sent ? JSON.parse(sent) : {{star: [[], []], rings: [[], []]}};
  const at = ['{STAR}', '{RINGS}'].map((name) => graph.data.findIndex((trace) => trace.meta === name));
  window.Plotly.restyle(graph, {{x: [[star[0]].flat(), rings[0]], y: [[star[1]].flat(), rings[1]]}}, at);
}};
whenDrawn(mark);
watch('value', () => graph && mark());
"""
)

# On the legend: its buttons show and hide classes.
SORTING = (
    WHEN_DRAWN
    + """
const sort = () => {
  const hidden = [...element.querySelectorAll('[aria-pressed=false]')].map((button) => +button.dataset.group);
  const points = [...graph.data.keys()].filter((index) => graph.data[index].meta.modality);
  const visible = points.map((index) => !hidden.includes(graph.data[index].meta.group));
  window.Plotly.restyle(graph, {visible}, points);
};
element.addEventListener('click', ({target}) => {
  const button = target.closest('button');
  if (!button || !graph) return;
  if (button.dataset.group) {
    button.ariaPressed = button.ariaPressed !== 'true';
  } else {
    element.querySelectorAll('[aria-pressed]').forEach((each) => { each.ariaPressed = Boolean(button.dataset.all); });
  }
  sort();
});
whenDrawn(() => {});
"""
)
