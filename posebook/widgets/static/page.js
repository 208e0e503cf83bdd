// HTML, controls and the page of a widget. Text from files and arguments reaches the page as text only: `html`
// escapes what is put into it, everything else goes through `put`.

import { apply } from './canvas.js';
import { createStore } from './store.js';

/** HTML that was written in a script, with all that came from elsewhere escaped. */
class Html {
  constructor(text) { this.text = text; }

  toString() { return this.text; }
}

function escaped(value) {
  if (Array.isArray(value)) return value.map(escaped).join('');
  if (value instanceof Html) return value.text;
  if (value === undefined || value === null || value === false) return '';
  return String(value).replace(/[&<>"'`]/g, (c) => `&#${c.charCodeAt(0)};`);
}

/** A template's HTML: what is put into it is text, unless it is Html itself, or a list of both. */
export const html = (parts, ...values) =>
  new Html(parts.reduce((all, part, i) => all + escaped(values[i - 1]) + part));

/** The only way from Html to the page. */
export function fillWith(element, page) {
  if (!(page instanceof Html)) throw new TypeError('fillWith: write the page as html`...`, or use put() for text');
  element.innerHTML = page.text;
}

/** Text is only written where it changed. */
export const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };

// ---- controls and numbers
//
// Each is named for a screen reader by `said`, by default its text: say more where a page has two alike.

export const panelHtml = (name, title, keys, space = name, { said = title, more = '' } = {}) =>
  html`<figure class="pb-panel pb-${space}">
  <figcaption><b>${title}</b> <span></span><output aria-live="off"></output></figcaption>
  <canvas data-panel="${name}" tabindex="0" role="application" aria-label="${said}. ${keys}">
  </canvas>${more}</figure>`;
export const range = (key, min, max, step, text = key, said = text) =>
  html`<label><span>${text} <b class="pb-value"></b></span>
  <input type="range" data-key="${key}" min="${min}" max="${max}" step="${step}" aria-label="${said}"></label>`;
export const select = (key, text = key, said = text) =>
  html`<label><span>${text}</span><select data-key="${key}" aria-label="${said}"></select></label>`;
export const check = (key, text, title, said = text) => html`<label class="pb-check" title="${title}">
  <input type="checkbox" data-key="${key}" aria-label="${said}">${text}</label>`;
export const RESET = html`<span class="pb-history"><button type="button" class="pb-undo" aria-label="undo"
  title="undo (Ctrl+Z)">↶</button><button type="button" class="pb-redo" aria-label="redo"
  title="redo (Ctrl+Shift+Z)">↷</button><button type="button" class="pb-reset">reset</button><button type="button"
  class="pb-present" aria-pressed="false" title="large, for a projector (Escape: back)">present</button></span>`;
export const facts = (title, ...list) => html`<section><h4>${title}</h4><dl>
  ${list.map(([key, text]) => html`<dt>${text}</dt><dd data-fact="${key}"></dd>`)}</dl></section>`;

/** The elements of `facts`, by key. */
export const factsOf = (root) =>
  Object.fromEntries([...root.querySelectorAll('[data-fact]')].map((e) => [e.dataset.fact, e]));

const valueOf = (c) => (c.type === 'checkbox' ? c.checked : JSON.parse(c.value));

/** A control's name and value in words. */
function wordsOf(c) {
  const value = c.type === 'checkbox' ? (c.checked ? 'on' : 'off') : c.selectedOptions?.[0]?.text ?? c.value;
  return `${c.ariaLabel ?? c.dataset.key} ${value}`;
}

/** A button, and the keys Backspace and Delete, take one control back to what it was first. */
function addReset(control, reset, signal) {
  const button = document.createElement('button'), name = `reset ${control.ariaLabel ?? control.dataset.key}`;
  Object.assign(button, { type: 'button', className: 'pb-one', textContent: '↺', tabIndex: -1, title: name, hidden: true });
  button.ariaLabel = name;
  button.addEventListener('click', (event) => { event.preventDefault(); reset(); }, { signal });
  control.addEventListener('keydown', (event) => {
    if (!['Backspace', 'Delete'].includes(event.key)) return;
    event.preventDefault();
    reset();
  }, { signal });
  control.closest('label')?.append(button);
  return button;
}

/** Calls `change(key, value)` for the reader's input; returns `follow(lists)`, which shows the state.
 *  `lists` has the [value, text] pairs of each select. With `store.first` each control can be reset. */
export function createControls(store, root, change, signal) {
  const controls = [...root.querySelectorAll('[data-key]')], shown = {};
  const resets = controls.map((c) => {
    c.addEventListener('input', () => change(c.dataset.key, valueOf(c)), { signal });
    return addReset(c, () => {
      const value = store.first?.[c.dataset.key];
      if (value !== undefined) change(c.dataset.key, value);
    }, signal);
  });
  return (lists = {}) => {
    const { state, first = {} } = store;
    controls.forEach((c, i) => {
      const { key } = c.dataset, value = state[key], text = JSON.stringify(value), list = lists[key];
      if (list && JSON.stringify(list) !== shown[key]) {
        shown[key] = JSON.stringify(list);
        c.replaceChildren(...list.map(([v, t]) => new Option(t, JSON.stringify(v))));
      }
      if (c.type === 'checkbox') c.checked = value;
      else if (c.value !== text) c.value = text;
      if (c.type === 'range') put(c.parentElement.querySelector('.pb-value'), `${+value.toFixed(2)}`);
      const changed = first[key] !== undefined && JSON.stringify(first[key]) !== text;
      resets[i].hidden = !changed;
      resets[i].parentElement?.classList.toggle('pb-changed', changed);
    });
  };
}

// ---- the page

/** Words for the screen reader, when the reader has paused and what was asked for has come. */
function createVoice(store, live, spoken) {
  let timer = 0, told = '';
  const speak = () => {
    if (store.asking) { timer = setTimeout(speak, 100); return; }
    live.textContent = [told, spoken()].filter(Boolean).join('. ');
    told = '';
  };
  const say = (control) => {
    if (control instanceof Element) told = wordsOf(control);
    clearTimeout(timer);
    timer = setTimeout(speak, 300);
  };
  return { say, stop: () => clearTimeout(timer) };
}

/** Over the whole window, large, the controls beside the picture. */
function present(root, on) {
  root.classList.toggle('pb-presenter', on);
  root.querySelector('.pb-present').ariaPressed = on;
  if (!root.showPopover) return;
  root.popover = on ? 'manual' : null; // in the top layer no cell clips it
  if (on) root.showPopover();
}

/** Undo, redo, reset and presenter mode, by button and key. */
function createButtons(store, root, signal) {
  const button = (name) => root.querySelector(`.pb-${name}`);
  const isLarge = () => root.classList.contains('pb-presenter');
  for (const name of ['undo', 'redo', 'reset']) {
    button(name)?.addEventListener('click', store[name], { signal });
  }
  button('present')?.addEventListener('click', () => present(root, !isLarge()), { signal });
  root.addEventListener('keydown', (event) => {
    const key = event.key.toLowerCase(), isCommand = (event.ctrlKey || event.metaKey) && !event.altKey;
    if (isCommand && 'zy'.includes(key)) store[key === 'y' || event.shiftKey ? 'redo' : 'undo']();
    else if (key === 'escape' && isLarge()) present(root, false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }, { signal });
  return () => {
    const [back, forth] = store.history.counts;
    if (button('undo')) button('undo').disabled = !back;
    if (button('redo')) button('redo').disabled = !forth;
  };
}

const GONE = 'The kernel was restarted or is gone: what is grey is old. Run this cell again.';
const ALONE = 'This page has no kernel: what is grey belongs to the picture as it was. Undo brings it back.';
const WAITING = 'The kernel is busy or gone: what is grey is old. After a restart, run this cell again.';

/** Where a picture stands in for this widget, it makes room for the live one. */
function replaceStandIns({ scene, views }, signal) {
  for (const box of document.querySelectorAll('.pb-standin')) {
    if (!scene.token || box.dataset.token !== scene.token) continue;
    box.hidden = true;
    signal.addEventListener('abort', () => { box.hidden = views.size > 0; });
  }
}

function render(store, el, { name, title, page, build }) {
  const root = Object.assign(document.createElement('div'), { className: `pb-widget ${name}` });
  fillWith(root, html`${page instanceof Html ? page : new Html(page)}
    <p class="pb-status" role="status"></p><p class="pb-live" aria-live="polite"></p>`);
  root.role = 'group';
  root.ariaLabel = title;
  // JupyterLab's shortcuts listen before we do; this keeps them out, element by element
  for (const e of [root, ...root.querySelectorAll('canvas, select, input, button')]) {
    e.setAttribute('data-lm-suppress-shortcuts', 'true');
  }
  el.append(root);
  const stop = new AbortController(), { signal } = stop;
  const [status, live] = root.querySelectorAll(':scope > .pb-status, :scope > .pb-live');
  const voice = createVoice(store, live, () => spoken()), { say } = voice;
  const { panels, follow, spoken } = build(store, root, { say, signal });
  const followButtons = createButtons(store, root, signal);
  root.addEventListener('input', (event) => say(event.target), { signal });
  root.addEventListener('click', (event) => { if (event.target.closest('button')) say(); }, { signal });
  replaceStandIns(store, signal);
  const view = {
    draw() {
      store.gone = !!el.closest('.jupyter-widgets-disconnected');
      root.classList.toggle('pb-stale', store.stale);
      for (const p of panels) p.draw();
      follow();
      followButtons();
      put(status, store.error || (store.gone ? GONE : !store.late ? '' : store.alone ? ALONE : WAITING));
    },
    resize() { for (const p of panels) p.resize(); view.draw(); },
  };
  store.views.add(view);
  // Detached at first (width 0), resized later, scrolled out and back in a virtualised notebook.
  const sizes = new ResizeObserver(view.resize);
  for (const p of panels) sizes.observe(p.canvas);
  el.__posebook = { store, panels, stats: store.stats, apply }; // for tests
  view.resize();
  return () => {
    store.views.delete(view);
    stop.abort();
    sizes.disconnect();
    voice.stop();
    root.remove();
  };
}

/** What a script exports as default. `name` is its class, `title` what a screen reader says, `page` its
 *  html; `derive` and `received` see createStore. `build(store, root, { say, signal })` returns `panels`,
 *  `follow()` (controls and numbers follow the state) and `spoken()` (where things are, in words). */
export const createWidget = (options) => () => {
  let store;
  return {
    initialize({ model }) { store = createStore(model, options); return () => store.close(); },
    render({ el }) { return render(store, el, options); },
  };
};
