"""What the page does in the browser, but for the map: clicks that reach Python, and the address that follows."""

from __future__ import annotations

# A click on anything that carries a query reaches Python as one event.
CLICKS = """
element.addEventListener('click', (event) => {
  const clicked = event.target.closest('[data-item], [data-text]');
  if (clicked) trigger('select', {item: clicked.dataset.item ?? null, text: clicked.dataset.text ?? null});
});
"""
# A click on a hit asks from it, one on a model's button takes the model along to the search.
COMPARE_CLICKS = """
element.addEventListener('click', (event) => {
  const {item = null, model = null} = event.target.closest('[data-item], [data-model]')?.dataset ?? {};
  if (item !== null || model !== null) trigger('select', {item, model});
});
"""
# The address of the page follows what has been asked; on the Hub the Space is in a frame, whose own page has it.
PERMALINK = """
const follow = () => {
  const link = element.querySelector('[data-link]')?.dataset.link;
  if (!link) return;
  const now = new URLSearchParams(location.search), wanted = new URLSearchParams(link);
  if (!now.has('gallery') && !wanted.has('text') && !wanted.has('item')) return;
  for (const [name, value] of now) if (name.startsWith('__')) wanted.append(name, value);
  history.replaceState(history.state, '', `${location.pathname}?${wanted}`);
  if (window.parent !== window) window.parent.postMessage({queryString: `${wanted}`}, 'https://huggingface.co');
};
watch('value', follow);
follow();
element.addEventListener('click', async (event) => {
  const button = event.target.closest('.cmr-copy');
  if (!button) return;
  const address = new URL(button.dataset.link, location.href).href;
  if (!navigator.clipboard) { window.prompt('The link', address); return; }  // a page without https has none
  await navigator.clipboard.writeText(address);
  button.textContent = 'Copied';
});
"""
# Results that are out of sight, above a clicked hit or below the controls of a phone, come into it.
SHOW_RESULTS = """
() => {
  const results = document.querySelector('#cmr-results');
  const top = results.getBoundingClientRect().top;
  if (top < 0 || top > 0.75 * window.innerHeight) results.scrollIntoView({behavior: 'smooth', block: 'start'});
}
"""
