import {
  apply, bytesOf, createControls, createPanel, createWidget, cross, diamond, drawPicture, facts, factsOf, fillWith, html,
  invert, label, listenToKeys, listenToPointer, mark, paintHeatmap, panelHtml, put, range, RESET, rimmed, select,
} from './canvas.js';

// HRNetExplorer: what is its own. The diagram is an SVG, so that themes reach it; its places, all maps and all
// numbers come from the kernel, which runs the network anew only when paths are cut.

const chosen = ({ parts, state }) => parts[state.selected];
const isCut = ({ state }, name) => state.cuts.includes(name);

function choose(store, name) {
  if (name && name !== store.state.selected) store.change({ selected: name });
}

/** Cut a fuse path, or put it back. */
function toggle(store, { name, kind }) {
  const { cuts } = store.state;
  if (kind === 'fuse') store.change({ cuts: isCut(store, name) ? cuts.filter((c) => c !== name) : [...cuts, name] });
}

// ---- the diagram

function lineHtml(store, { name, place: [x1, y1, x2, y2] }, on) {
  const cut = isCut(store, name), share = store.answer?.heat[name]?.[0] ?? 0;
  const line = (kind, width) => html`<path class="${kind}" d="M${x1} ${y1}L${x2} ${y2}" stroke-width="${width}"/>`;
  return html`${on && line(on, 5)}${line(cut ? 'gone' : 'wire', cut ? 1.8 : 1)}
    ${share > 0.004 && !cut && line('heat', 1 + 6 * Math.sqrt(share))}
    ${cut && html`<path class="cross" d="M${(x1 + x2) / 2 - 5} ${(y1 + y2) / 2 - 5}l10 10m0 -10l-10 10"/>`}`;
}

function boxHtml({ answer }, { name, kind, place: [x, y, x2, y2] }, on) {
  const [w, h] = [x2 - x, y2 - y], [share, text] = answer?.heat[name] ?? [0, ''], url = answer?.urls[name];
  const rect = (kinds, grow) => html`<rect class="${kinds}" x="${x - grow}" y="${y - grow}" rx="3"
    width="${w + 2 * grow}" height="${h + 2 * grow}"/>`;
  const write = (words, kinds, dx, dy) => html`<text class="${kinds}" x="${x + dx}" y="${y + dy}">${words}</text>`;
  if (kind === 'sum') return [on && rect(on, 3), rect('sum', 0), write('+', '', w / 2, h / 2), write(text, 'share', w + 4, h + 9)];
  return [on && rect(on, 3), rect('box', 0), kind !== 'branch' && write(name, '', w / 2, -9),
    url && html`<image href="${url}" x="${x}" y="${y}" width="${w}" height="${h}" preserveAspectRatio="none"/>`,
    text && [html`<rect class="bar" x="${x}" y="${y2 + 3}" width="${Math.max(1, share * w)}" height="5"/>`,
      write(text, 'share', w, h + 14)]];
}

function diagramHtml(store) {
  const { scene: { parts }, state, hover } = store, nodes = parts.filter((p) => !p.source);
  const on = ({ name }) => (name === state.selected ? 'on' : name === hover && 'over');
  const lines = parts.filter((p) => p.source).sort((p, q) => !!on(p) - !!on(q));
  const rows = Object.values(Object.fromEntries(nodes.map((p) => [p.row, p])));
  return html`${rows.map(({ row, place }) =>
    html`<text class="row" x="2" y="${(place[1] + place[3]) / 2}">stride ${4 * 2 ** row}</text>`)}
    ${lines.map((p) => lineHtml(store, p, on(p)))}${nodes.map((p) => boxHtml(store, p, on(p)))}`;
}

/** How far a point is from a line. */
function distance([px, py], [x1, y1, x2, y2]) {
  const [dx, dy] = [x2 - x1, y2 - y1], t = ((px - x1) * dx + (py - y1) * dy) / (dx * dx + dy * dy);
  const near = Math.max(0, Math.min(1, t));
  return Math.hypot(px - x1 - near * dx, py - y1 - near * dy);
}

/** The box at a point of the diagram, or the path that runs closest by. */
function partAt({ scene: { parts } }, [x, y]) {
  const box = parts.find(({ source, place: [x1, y1, x2, y2] }) =>
    !source && x > x1 - 3 && x < x2 + 3 && y > y1 - 3 && y < y2 + 3);
  if (box) return box.name;
  const [best] = parts.filter((p) => p.source && p.kind !== 'wire').map((p) => [distance([x, y], p.place), p.name])
    .sort((a, b) => a[0] - b[0]);
  return best?.[0] < 9 ? best[1] : null;
}

/** A panel as canvas.js has them, but on an SVG. */
function createDiagram(store, root, say, signal) {
  const svg = root.querySelector('svg'), [width] = store.scene.diagram_size;
  const panel = { name: 'network', canvas: svg, store, width: 0 };
  let drawnAs, shown;
  const scale = () => svg.getBoundingClientRect().width / width;
  const at = (p) => partAt(store, p.map((v) => v / scale()));
  panel.resize = () => { panel.width = svg.getBoundingClientRect().width; shown = null; };
  panel.draw = () => {
    const told = store.parts[store.hover] ?? chosen(store), { selected, cuts } = store.state;
    if (shown !== selected) show();
    put(root.querySelector('.pb-net output'), `${told.title}: ${told.words}`);
    const key = [store.hover, selected, cuts, store.answer?.id].join();
    if (key === drawnAs) return;
    drawnAs = key;
    fillWith(svg, diagramHtml(store));
    svg.classList.toggle('changed', store.state.shade === 'change');
  };
  const show = () => {
    const box = svg.parentElement, x = chosen(store).place[0] * scale();
    shown = store.state.selected;
    if (x < box.scrollLeft + 60 || x > box.scrollLeft + box.clientWidth - 60) box.scrollLeft = x - box.clientWidth / 2;
  };
  listenToPointer(panel, {
    press(p) { choose(store, at(p)); say(); },
    hover(p) {
      store.hover = at(p);
      store.redraw();
      return store.hover ? 'pointer' : 'default';
    },
    leave() { store.hover = null; store.redraw(); },
  }, signal);
  listenToKeys(store, panel, root, {
    arrow(dx, dy) { choose(store, chosen(store).next[dx ? +(dx > 0) : 2 + (dy > 0)]); },
    press(key) {
      if (!['x', 'Enter', ' ', 'Delete'].includes(key)) return false;
      toggle(store, chosen(store));
      return true;
    },
  }, say, signal);
  return panel;
}

// ---- maps over the picture

const short = (v) => v.toFixed(Math.abs(v) >= 100 ? 0 : Math.abs(v) >= 1 ? 2 : 3);

/** Blue where it became less, rose where it became more. */
function paintDifference(before, after, [h, w]) {
  const canvas = new OffscreenCanvas(w, h), pixels = new ImageData(w, h);
  after.forEach((v, i) => {
    const d = 3 * (v - before[i]);
    pixels.data.set(d < 0 ? [85, 153, 238, -d] : [238, 102, 119, d], 4 * i);
  });
  canvas.getContext('2d').putImageData(pixels, 0, 0);
  return canvas;
}

function paintOver(on, store, { view, width, height }, cells, [h, w]) {
  const [wide, high] = store.scene.image_size, s = [wide / w, high / h], { opacity } = store.state;
  on.fillStyle = '#000';
  on.fillRect(0, 0, width + 1, height + 1);
  drawPicture(on, store, view);
  on.fillStyle = `rgba(8,8,24,${0.7 * opacity})`;
  on.fillRect(0, 0, width + 1, height + 1);
  on.imageSmoothingEnabled = false;
  on.globalAlpha = opacity;
  // the centre of the map's pixel i is at s * i in the input, so the first one sticks out
  on.drawImage(cells, ...apply(view, s.map((v) => -v / 2)), wide * view[0], high * view[0]);
  on.globalAlpha = 1;
}

/** Where the keypoints are; those that moved with the way they came. */
function drawPoints(ctx, { view }, from, to) {
  from.forEach((p, i) => {
    const [a, b] = [p, to[i]].map((q) => apply(view, q));
    if (Math.hypot(p[0] - to[i][0], p[1] - to[i][1]) < 0.5) return mark(ctx, a, 3, 'middle', '#fff');
    ctx.beginPath();
    ctx.moveTo(...a);
    ctx.lineTo(...b);
    rimmed(ctx, '#fff', 1.5);
    diamond(ctx, b, undefined, 4);
  });
}

/** `found()` is one of the answer's maps; all such panels share the probe. */
function createOver(store, root, name, found, title, say, signal) {
  const panel = createPanel(store, root, name, {
    size: () => store.scene.image_size,
    title,
    key: () => [store.answer?.id, store.state.opacity].join(),
    paint(on) {
      const map = found();
      if (!map) return;
      const values = bytesOf(map.values), changed = name === 'after' && store.state.view === 'difference';
      paintOver(on, store, panel, changed ? paintDifference(bytesOf(store.answer.before.values), values, map.shape)
        : paintHeatmap(values, map.shape), map.shape);
    },
    draw(ctx) {
      const map = found(), { answer, probe, scene: { image_size } } = store, points = answer?.points;
      if (answer && !map) label(ctx, 'has no maps', [0, 34], panel.width);
      if (points && name !== 'picture') drawPoints(ctx, panel, points.before, points[name]);
      if (!probe || !map) return;
      const [h, w] = map.shape;
      const [x, y] = [w, h].map((n, i) => Math.min(n - 1, Math.round(probe[i] * n / image_size[i])));
      const value = map.low + bytesOf(map.values)[y * w + x] * (map.high - map.low) / 255, at = apply(panel.view, probe);
      cross(ctx, at);
      label(ctx, `${x}, ${y}: ${short(value)}`, at, panel.width);
    },
  });
  const probe = (p) => {
    store.probe = p?.map((v, i) => Math.max(0, Math.min(store.scene.image_size[i] - 1, Math.round(v))));
    store.redraw();
  };
  const leave = () => probe(null);
  listenToPointer(panel, { press() {}, hover(p) { probe(apply(invert(panel.view), p)); }, leave }, signal);
  listenToKeys(store, panel, root, {
    arrow(dx, dy) {
      const [x, y] = store.probe ?? store.scene.image_size.map((n) => n / 2);
      probe([x + 4 * dx, y + 4 * dy]);
    },
    blur: leave,
  }, say, signal);
  return panel;
}

// ---- channels

function createChannels(store, root, say, signal) {
  const none = { numbers: [], of: 0, columns: 1 };
  const sheet = () => store.answer?.sheet ?? none;
  const now = () => {
    const { numbers, of } = sheet(), { reduce, channel } = store.state;
    return reduce === 'channel' ? numbers.indexOf(Math.min(channel, of - 1)) : -1;
  };
  const panel = createPanel(store, root, 'channels', {
    size: () => store.scene.image_size, // whatever the sheet, so that no panel jumps
    title: () => `${sheet().numbers.length < sheet().of ? `${sheet().numbers.length} strongest of ` : ''}${sheet().of}`,
    key: () => store.answer?.id,
    paint(on, { width, height }) {
      on.fillStyle = '#101018';
      on.fillRect(0, 0, width + 1, height + 1);
      on.imageSmoothingEnabled = false;
      if (sheet().values) on.drawImage(paintHeatmap(bytesOf(sheet().values), sheet().shape), 0, 0, width, height);
    },
    draw(ctx, { width, height }) {
      const { numbers, columns } = sheet(), [w, h] = [width / columns, height / columns];
      for (const k of [store.tile, now()]) {
        if (!(k in numbers)) continue;
        const x = (k % columns) * w, y = Math.floor(k / columns) * h;
        ctx.beginPath();
        ctx.rect(x + 1, y + 1, w - 3, h - 3);
        rimmed(ctx, '#fff', k === store.tile ? 1 : 2.5);
        label(ctx, `channel ${numbers[k]}`, [x, y], width);
      }
    },
  });
  const pick = (k) => store.change(k === now() || !(k in sheet().numbers) ? { reduce: 'mean' }
    : { reduce: 'channel', channel: sheet().numbers[k] });
  const tileAt = (p) => {
    const { columns } = sheet(), [x, y] = p.map((v, i) => Math.floor(columns * v / [panel.width, panel.height][i]));
    return y * columns + x;
  };
  listenToPointer(panel, {
    press(p) { pick(tileAt(p)); say(); },
    hover(p) { store.tile = tileAt(p); store.redraw(); return 'pointer'; },
    leave() { store.tile = null; store.redraw(); },
  }, signal);
  listenToKeys(store, panel, root, {
    arrow(dx, dy) {
      const k = now() < 0 ? 0 : now() + Math.sign(dx) + sheet().columns * Math.sign(dy);
      if (k in sheet().numbers && k !== now()) pick(k);
    },
    press(key) { if (key === 'm') pick(-1); return key === 'm'; },
  }, say, signal);
  return panel;
}

/** The terms of the sum that the selected part is, feeds or belongs to. */
function createTerms(store, root, say, signal) {
  const [title, list] = root.querySelector('.pb-terms').children;
  list.addEventListener('click', (e) => { choose(store, e.target.closest('button')?.dataset.part); say(); }, { signal });
  let drawnAs;
  return () => {
    const { sum } = chosen(store), { state, answer, parts, scene } = store;
    const key = [state.selected, state.cuts, answer?.id].join(), held = list.contains(document.activeElement);
    if (key === drawnAs) return;
    drawnAs = key;
    put(title, sum ? `sum of branch ${parts[sum].row}: its terms by size` : 'a sum: choose a branch or a +');
    fillWith(list, html`${scene.parts.filter((p) => sum && p.target === sum).map(({ name, source, words }) => {
      const share = answer?.signal[name] ?? 0, cut = isCut(store, name);
      return html`<button type="button" data-part="${name}" aria-pressed="${name === state.selected ? 'true' : 'false'}"
        class="${cut && 'gone'}"><b>${parts[source].row}</b> <span>${words.split(': ')[1]}</span>
        <i style="width:${60 * share}px"></i> <em>${cut ? 'cut' : `${Math.round(100 * share)}%`}</em></button>`;
    })}`);
    if (held) list.querySelector('[aria-pressed=true]')?.focus();
  };
}

// ---- the page

const LISTS = {
  shade: [['macs', 'MACs'], ['params', 'parameters'], ['change', 'change by the cuts']],
  reduce: [['mean', 'mean of |x|'], ['max', 'largest |x|'], ['channel', 'one channel']],
  view: [['output', 'output'], ['difference', 'what changed']],
};
const PROBE = 'Arrows: probe.';

const effectOf = ({ ends, joints }) => html`<div class="pb-effect">
  <div class="pb-outputs">${panelHtml('before', 'nothing cut', PROBE, 'output')}
    ${panelHtml('after', 'with cuts', PROBE, 'output')}</div>
  <div class="pb-cuts"><button type="button" class="pb-cut"></button>
    <button type="button" class="pb-heal">restore all</button></div>
  <div class="pb-facts">${facts('changed by the cuts', ...ends.map((_, i) => [`end${i}`, `output ${i}`]),
    ...joints.length ? [['heat', 'heatmaps'], ['shift', 'keypoints'], ['farthest', 'farthest']] : [])}</div></div>`;

/** The network and what a cut does stand side by side: whatever is clicked on, its effect is in sight. */
const pageOf = (scene) => html`<div class="pb-scene"><p class="pb-note pb-owed"></p>
<figure class="pb-net pb-panel"><figcaption><b>network</b> <span>${scene.summary}</span><output aria-live="off"></output></figcaption>
<svg class="pb-owed" tabindex="0" role="application" data-lm-suppress-shortcuts="true" viewBox="0 0 ${scene.diagram_size.join(' ')}"
  style="--w:${scene.diagram_size[0]}px" aria-label="Network. Arrows: along paths, up and down. X: cut a path. Escape: leave."></svg></figure>
${effectOf(scene)}</div>
<div class="pb-lower"><div class="pb-panels">${panelHtml('picture', 'selected', PROBE, 'input pb-owed')}
  ${panelHtml('channels', 'channels', 'Arrows: choose. M: mean.', 'channels pb-owed')}</div>
<div class="pb-facts">${facts('selected', ['given', 'in'], ['made', 'out'], ['params', 'parameters'], ['macs', 'MACs'],
    ['prefix', 'state_dict'])}<section class="pb-terms"><h4></h4><div></div></section></div></div>
<div class="pb-controls">${select('shade', 'bars show')}${select('reduce', 'selected: picture of')}
  ${scene.joints.length > 0 && select('joint', 'heatmap')}${select('view', 'with cuts: show')}${range('opacity', 0, 1, 0.01)}
  <div class="pb-checks"><button type="button" class="pb-copy" title="This is a copy of your model, which is not touched."
    >copy the weights again</button>${RESET}</div></div>`;

function build(store, root, { say, signal }) {
  const { joints } = store.scene, fact = factsOf(root), [cut, heal, copy] = root.querySelectorAll('.pb-cut, .pb-heal, .pb-copy');
  const note = root.querySelector('.pb-note');
  const over = (name, key, title) => createOver(store, root, name, () => store.answer?.[key], title, say, signal);
  const picture = over('picture', 'map', () => {
    const { answer, state: { reduce, channel } } = store, map = answer?.map;
    return `${reduce === 'channel' ? channel : reduce}${map ? `, ${short(map.low)} to ${short(map.high)}` : ''}`;
  });
  const panels = [createDiagram(store, root, say, signal), picture, createChannels(store, root, say, signal),
    over('before', 'before', () => ''),
    over('after', 'after', () => '')];
  const followControls = createControls(store, root, (key, value) => store.change({ [key]: value }), signal);
  const followTerms = createTerms(store, root, say, signal);
  const lists = { ...LISTS, joint: [[-1, 'all: maximum'], ...joints.map((name, k) => [k, name])] };
  cut.addEventListener('click', () => { toggle(store, chosen(store)); say(); }, { signal });
  heal.addEventListener('click', () => { store.change({ cuts: [] }); say(); }, { signal });
  copy.addEventListener('click', () => { store.change({ copies: store.state.copies + 1 }); say(); }, { signal });
  const follow = () => {
    const part = chosen(store), texts = { ...part.texts, ...store.answer?.texts };
    followControls(lists);
    followTerms();
    for (const key of Object.keys(fact)) put(fact[key], texts[key] ?? '–');
    put(note, texts.note ?? '');
    cut.disabled = part.kind !== 'fuse';
    heal.disabled = !store.state.cuts.length;
    put(cut, cut.disabled ? 'to cut: choose a path into a +'
      : `${isCut(store, part.name) ? 'restore' : 'cut'} ${part.title.toLowerCase()}`);
    const { joint, reduce, channel, view } = store.state, output = joints[joint] ?? (joints.length ? 'all maps' : 'output');
    const captions = [part.title, reduce === 'channel' ? `shown: ${channel}` : `shown: ${reduce}`, output,
      view === 'difference' ? 'what changed' : output];
    panels.slice(1).forEach((p, i) => put(p.caption, captions[i]));
  };
  return { panels, follow, spoken: () => store.answer?.texts.spoken };
}

export default () => {
  const options = { name: 'pb-hrnet', title: 'HRNetExplorer: a network and its maps', build,
    derive: (store) => { store.parts ??= Object.fromEntries(store.scene.parts.map((p) => [p.name, p])); } };
  const { initialize, render } = createWidget(options)();
  return {
    initialize(context) {
      options.page = pageOf(context.model.get('scene'));
      return initialize(context);
    },
    render,
  };
};
