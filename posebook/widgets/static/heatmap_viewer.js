import {
  apply, bytesOf, check, createControls, createPanel, createWidget, cross, diamond, drawHeatmap, drawPicture,
  drawPose, facts, factsOf, fixed, html, invert, label, listenToKeys, listenToPointer, mul, paintHeatmap, panelHtml,
  polygon, put, range, rectangle, RESET, rimmed, ring, select,
} from './canvas.js';

// HeatmapViewer: what is its own. All maps are here as bytes, so that choosing, colouring and hovering need no
// kernel; every point and number but the value under the pointer comes from it.

// heatmap pixels across a close-up
const CLOSE = 12;

// ---- the maps

/** New maps, if there are any: `store.sources[s].maps[c]` are the bytes of map c. */
function readMaps(store, model) {
  const info = model.get('map_info'), all = bytesOf(model.get('map_bytes')), [count, h, w] = info.shape, n = h * w;
  if (store.info === info) return;
  Object.assign(store, { info, w, h, count, points: null, set: performance.now() });
  store.sources = info.sources.map((source, s) => ({ ...source, maps: source.lows.map((_, c) =>
    all.subarray((s * source.lows.length + c) * n).subarray(0, n)) }));
}

/** The kernel's rows of five for each source and keypoint, then three distances for each keypoint. */
function received(store, { rows: { buffer, byteOffset, byteLength } }) {
  const numbers = new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength)), { count, sources } = store;
  store.points = sources.map((_, s) => Array.from({ length: count }, (__, k) => {
    const [ax, ay, x, y, score] = numbers.subarray(5 * (s * count + k));
    return { argmax: [ax, ay], at: [x, y], found: isFinite(x), score };
  }));
  store.apart = (k) => numbers.slice(5 * count * sources.length + 3 * k).slice(0, 3);
}

const shownIn = ({ state: { selected }, count }) => (selected.length ? selected : [...Array(count).keys()]);
const single = ({ state: { selected } }) => (selected.length === 1 ? selected[0] : null);
const offsets = ({ state: { layer } }) => layer !== 'map';

/** Offsets have no maximum over keypoints. */
const unclear = (store) => offsets(store) && single(store) === null;

const mapOf = ({ state: { layer }, info: { per } }, k) => per * k + ['map', 'x', 'y'].indexOf(layer);

/** What a byte of map c stands for. */
const decode = ({ lows, highs }, c, byte) => lows[c] + byte * (highs[c] - lows[c]) / 255;

const valueAt = (store, source, k, [x, y], c = mapOf(store, k)) => decode(source, c, source.maps[c][y * store.w + x]);

/** What has the darkest and the brightest colour. */
const rangeOf = (store, { ranges }, k) =>
  (offsets(store) ? [-2, 2] : store.state.scale === 'map' ? ranges.map[k] : ranges[store.state.scale]);

/** Colours 0..255 of a source: the maximum over the keypoints `list`. */
function shade(store, source, list) {
  const out = new Uint8Array(store.w * store.h), colour = new Uint8ClampedArray(256);
  for (const k of list) {
    if (!source.drawn[k]) continue;
    const c = mapOf(store, k), map = source.maps[c], [bottom, top] = rangeOf(store, source, k);
    for (let v = 0; v < 256; v++) colour[v] = 255 * (decode(source, c, v) - bottom) / (top - bottom);
    for (let i = 0; i < map.length; i++) if (colour[map[i]] > out[i]) out[i] = colour[map[i]];
  }
  return out;
}

/** As `paintHeatmap`; offsets are blue below 0 and rose above. */
function paintCells(store, values, [h, w], canvas) {
  canvas = paintHeatmap(values, [h, w], canvas, store.state.colormap);
  if (!offsets(store)) return canvas;
  const pixels = new ImageData(w, h);
  values.forEach((v, i) =>
    pixels.data.set(v < 128 ? [85, 153, 238, 255 - 2 * v] : [238, 102, 119, 2 * v - 255], 4 * i));
  canvas.getContext('2d').putImageData(pixels, 0, 0);
  return canvas;
}

// ---- what a panel shows

/** [x, y, w, h] in heatmap pixels: all, or in a close-up what is around the peak. */
function areaOf(store) {
  const { w, h, state, points } = store, k = single(store);
  if (!state.close_up || k === null) return [0, 0, w, h];
  const size = [Math.min(w, CLOSE), Math.min(h, Math.round(CLOSE * h / w))];
  const peak = points?.map((p) => p[k]).find((p) => p.found)?.argmax ?? [w / 2, h / 2];
  return [...peak.map((v, i) => Math.max(0, Math.min([w, h][i] - size[i], Math.ceil(v - size[i] / 2)))), ...size];
}

const toPanel = (store, { view }) => {
  const [x, y] = areaOf(store);
  return mul(view, [1, 0, -x, 0, 1, -y]);
};

/** The crop as the panel shows it, black outside; kept as it is while only colours change. */
function paintCrop(on, store, panel, area) {
  const now = [store.set, area, panel.width, !!store.picture].join(), [sx, sy] = store.info.stride ?? [1, 1];
  if (panel.crop !== now) {
    const { width, height } = on.canvas, back = new OffscreenCanvas(width, height).getContext('2d');
    back.fillRect(0, 0, width, height);
    back.scale(panel.dpr, panel.dpr);
    drawPicture(back, store, mul(toPanel(store, panel), [1 / sx, 0, 0, 0, 1 / sy, 0]));
    Object.assign(panel, { back, crop: now });
  }
  on.save();
  on.resetTransform();
  on.drawImage(panel.back.canvas, 0, 0);
  on.restore();
}

/** The slow layer: the crop, the maps, and in a close-up the value of each pixel. */
function paintMaps(on, store, panel, source) {
  const { state } = store, { view } = panel, area = areaOf(store), [x0, y0, w, h] = area;
  paintCrop(on, store, panel, area);
  if (unclear(store)) return;
  const key = [store.set, state.selected, state.scale, state.layer, state.colormap, area].join();
  if (panel.shaded !== key) {
    const all = shade(store, source, shownIn(store));
    panel.values = Uint8Array.from({ length: w * h }, (_, i) => all[(y0 + Math.floor(i / w)) * store.w + x0 + i % w]);
    panel.cells = paintCells(store, panel.values, [h, w], panel.cells);
    panel.shaded = key;
  }
  on.globalAlpha = state.opacity;
  drawHeatmap(on, panel, shownIn(store).some((k) => source.drawn[k]) && panel.cells, state.opacity);
  if (w === store.w || view[0] < 24 || !source.drawn[single(store)]) return;
  Object.assign(on, { font: `${view[0] * 0.36}px system-ui`, textAlign: 'center', textBaseline: 'middle',
    strokeStyle: 'rgba(0,0,0,.75)', fillStyle: '#fff', lineWidth: 2.5 });
  for (let i = 0; i < w * h; i++) {
    const x = i % w, y = Math.floor(i / w), value = valueAt(store, source, single(store), [x0 + x, y0 + y]);
    const text = Math.abs(value) > 99 ? value.toFixed(0) : value.toFixed(2).replace(/^-?0\.00/, '0').replace('0.', '.');
    for (const f of ['strokeText', 'fillText']) on[f](text, (x + 0.5) * view[0], (y + 0.5) * view[0]);
  }
}

/** One map: argmax as its pixel, refined point as a diamond; a ring where the other source has it. */
function drawSingle(ctx, own, other, toView) {
  if (other?.found) {
    ctx.beginPath();
    for (const p of own.found ? [own.at, other.at] : []) ctx.lineTo(...apply(toView, p));
    rimmed(ctx, '#fff', 1.5, [3, 4]);
    ring(ctx, apply(toView, other.at));
  }
  if (!own.found) return;
  const [x, y] = own.argmax;
  polygon(ctx, rectangle(x - 0.5, y - 0.5, x + 0.5, y + 0.5).map((p) => apply(toView, p)));
  rimmed(ctx, '#fff', 2);
  diamond(ctx, apply(toView, own.at));
}

function drawPoints(ctx, store, s, toView) {
  const k = single(store), points = store.points[s], { links, sides } = store.scene, shown = shownIn(store);
  if (k !== null) return drawSingle(ctx, points[k], store.points[1 - s]?.[k], toView);
  const visible = points.map((p, i) => (p.found && shown.includes(i) ? 2 : 0));
  drawPose(ctx, points.map((p) => apply(toView, p.at)), { links, sides, visible });
}

const show = (v) => (isFinite(v) ? v.toFixed(Math.abs(v) > 99 ? 0 : 3) : '–');

/** [value, keypoint] of the highest of the shown maps at a pixel. */
function readAt(store, source, p) {
  const list = unclear(store) ? [] : shownIn(store).filter((k) => !source.short[k].startsWith('NaN'));
  return list.map((k) => [valueAt(store, source, k, p), k])
    .reduce((best, now) => (now[0] > best[0] ? now : best), [-Infinity, null]);
}

function createSource(store, root, s) {
  const panel = createPanel(store, root, store.sources[s].title, {
    size: () => areaOf(store).slice(2),
    key: () => JSON.stringify([store.set, store.state, areaOf(store)]),
    paint: (on) => paintMaps(on, store, panel, store.sources[s]),
    draw(ctx, { width }) {
      const toView = toPanel(store, panel), k = single(store), { probe, scene, state } = store;
      const source = store.sources[s];
      put(panel.caption, k === null ? `${shownIn(store).length} maps` : scene.names[k]);
      const note = unclear(store) ? 'choose one' : source.short[k];
      if (note) label(ctx, note, [0, 34], width);
      if (state.points && store.points) drawPoints(ctx, store, s, toView);
      if (!probe) return;
      const [value, best] = readAt(store, source, probe), at = apply(toView, probe);
      cross(ctx, at);
      label(ctx, `${probe.join(', ')}: ${show(value)} ${k === null && value > 0 ? scene.names[best] : ''}`, at, width);
    },
  });
  return panel;
}

// ---- choosing

/** The keypoint that the numbers are of: the one that is shown, or the highest under the pointer. */
function current(store) {
  const [value, best] = store.probe ? readAt(store, store.sources[0], store.probe) : [0];
  return single(store) ?? (value > 0 ? best : null);
}

/** Show map k, -1 for all; `add` it to the shown ones, or take it out. */
function choose(store, k, add = false) {
  const now = store.state.selected, others = now.filter((i) => i !== k);
  const added = others.length < now.length ? others : [...now, k];
  store.change({ selected: k < 0 ? [] : add ? added : [k] });
}

/** The probe goes to the pixel at `p`, or the nearest that is shown. */
function probeAt(store, p) {
  const [x, y, w, h] = areaOf(store);
  store.probe = [[x, w], [y, h]].map(([from, n], i) => Math.max(from, Math.min(from + n - 1, Math.round(p[i]))));
  store.redraw();
}

function pointerOf(store, panel, say) {
  return {
    press(p) {
      probeAt(store, apply(invert(toPanel(store, panel)), p)); // a finger has not hovered
      const k = current(store);
      if (k === null) return;
      choose(store, k);
      say();
    },
    hover(p) { probeAt(store, apply(invert(toPanel(store, panel)), p)); },
    leave() { store.probe = null; store.redraw(); },
  };
}

const keysOf = (store) => ({
  arrow(dx, dy) {
    const [x, y, w, h] = areaOf(store), from = store.probe ?? [x + w / 2, y + h / 2];
    probeAt(store, [from[0] + dx, from[1] + dy]);
  },
  press(key) {
    const by = (key === ']') - (key === '['), { state: { selected, close_up }, count } = store;
    if (by) choose(store, ((selected.at(-1) ?? (by > 0 ? -1 : count)) + by + count) % count);
    else if (key === 'a') choose(store, -1);
    else if (key === 'c') store.change({ close_up: !close_up });
    else return false;
    return true;
  },
  blur() { store.probe = null; },
});

const ALL = Uint8Array.from({ length: 256 }, (_, i) => i);

/** The rows of the list: small maps, names, scores, distances. Returns what lets it follow the state. */
function createList(store, root, say, signal) {
  const list = root.querySelector('.pb-list'), rows = [...list.children];
  let drawnAs, followed;
  rows.forEach((row, i) => { row.querySelector('b').textContent = i ? store.scene.names[i - 1] : 'all: maximum'; });
  const pick = (row, add) => {
    if (!row) return;
    choose(store, rows.indexOf(row) - 1, add);
    row.focus();
    say();
  };
  list.addEventListener('click', (e) => pick(e.target.closest('button'), e.shiftKey), { signal });
  list.addEventListener('keydown', (e) => {
    const by = (e.key === 'ArrowDown') - (e.key === 'ArrowUp');
    if (!by) return;
    e.preventDefault();
    pick(rows[rows.indexOf(document.activeElement) + by], e.shiftKey);
  }, { signal });

  return () => {
    const { state, sources: [source], points, w, h } = store, first = (state.selected[0] ?? -1) + 1;
    const look = [store.set, state.colormap, state.scale, state.layer].join();
    const now = look + state.selected + store.answer?.id;
    const plain = { ...store, state: { ...state, layer: 'map' } }, moved = rows[first].tabIndex;
    if (now === followed || !list.clientHeight) return;
    for (const ramp of look === drawnAs ? [] : root.querySelectorAll('.pb-ramp canvas')) {
      paintCells(store, ALL, [1, 256], ramp);
    }
    rows.forEach((row, i) => {
      const k = i - 1, p = points?.[0][k], [canvas, , score, gap] = row.children;
      if (look !== drawnAs) paintCells(plain, shade(plain, source, i ? [k] : source.drawn.keys()), [h, w], canvas);
      row.ariaPressed = i ? state.selected.includes(k) : !state.selected.length;
      // one stop of the Tab key
      row.tabIndex = i === first ? 0 : -1;
      if (!p) return;
      const d = store.apart(k).reverse().find(isFinite);
      put(score, source.short[k] || (p.found ? show(p.score) : 'no peak'));
      put(gap, d >= 0 ? `${d.toFixed(1)} px` : '');
    });
    drawnAs = look;
    followed = now;
    if (moved) list.scrollTop = rows[first].offsetTop - list.clientHeight / 2;
  };
}

// ---- numbers

const place = (p) => (p && isFinite(p[0]) ? fixed(p) : '–');

function showFacts(store, fact) {
  const { info, scene, sources, points, answer, probe } = store, k = current(store);
  const texts = { probe: probe?.join(', ') ?? '–', ...answer?.texts };
  sources.forEach((source, s) => {
    const p = points?.[s][k];
    Object.assign(texts, { [`name${s}`]: k === null ? ': point at a peak' : `: ${scene.names[k]}`,
      [`score${s}`]: p ? show(p.score) : '–', [`argmax${s}`]: p?.found ? fixed(p.argmax, 0) : '–',
      [`at${s}`]: place(p?.at),
      [`step${s}`]: place(p?.at.map((v, i) => v - p.argmax[i])),
      [`input${s}`]: place(info.stride && p?.at.map((v, i) => v * info.stride[i])),
      [`value${s}`]: probe ? show(readAt(store, source, probe)[0]) : '–' });
  });
  const d = points && k !== null ? store.apart(k) : [];
  ['whole', 'apart', 'apartIn'].forEach((key, i) => {
    texts[key] = isFinite(d[i]) ? `${d[i].toFixed(2)} px ${i < 2 ? 'heatmap' : 'input'}` : '–';
  });
  for (const key of Object.keys(fact)) put(fact[key], texts[key] ?? '–');
}

// ---- the page

const KEYS = 'Arrows: probe. Brackets: previous, next. A: all. C: close-up. Escape: leave.';
const RAMP = html`<div class="pb-ramp"><span></span><canvas>colours</canvas><span></span></div>`;
const ROW = html`<button type="button" tabindex="-1"><canvas aria-hidden="true"></canvas><b></b><span></span><i></i></button>`;

function pageOf(scene, { sources, lists }) {
  const titles = sources.map((s) => s.title);
  const panels = titles.map((t) => panelHtml(t, t, KEYS, 'output', { more: RAMP }));
  const numbers = titles.map((t, s) => facts(html`${t}<span data-fact="name${s}"></span>`, [`score${s}`, 'score'],
    [`argmax${s}`, html`<u></u>argmax`], [`at${s}`, html`<i class="pb-mark"></i>refined`], [`step${s}`, 'refined − argmax'],
    [`input${s}`, 'in input px']));
  if (titles[1]) {
    numbers.push(facts(html`<u></u>apart`, ['whole', 'argmax'], ['apart', 'refined'],
      ['apartIn', 'in input px'], ['mean', 'mean'], ['farthest', 'farthest']));
  }
  return html`<div class="pb-stage"><div class="pb-panels">${panels}</div><div class="pb-side"><div class="pb-list"
  role="group" aria-label="Keypoints. Shift adds.">${Array(scene.names.length + 1).fill(ROW)}</div>
  </div></div><div class="pb-note"></div>
<div class="pb-controls">${select('colormap', 'colour map')}${range('opacity', 0, 1, 0.01)}
  ${select('scale', 'brightest')}${select('refine', 'refined by')}${lists.layer[1] ? select('layer', 'maps') : ''}
  <div class="pb-checks">${check('points', 'points', 'argmax, refined')}
    ${check('close_up', 'close-up', 'of one map')}${RESET}</div></div>
<div class="pb-facts">${numbers}${facts('shown', ['probe', 'pointer at'],
    ...titles.map((t, s) => [`value${s}`, t]), ['found', 'peaks'],
    ['weakest', 'weakest'], ['kind', 'score is'])}</div>`;
}

/** The colour bar below a panel. */
function followRamp(store, s, ramp) {
  const [low, , high] = ramp.children, k = single(store), ends = rangeOf(store, store.sources[s], k ?? 0);
  const each = store.state.scale === 'map' && k === null;
  put(low, offsets(store) ? '−2 radii' : show(ends[0]));
  put(high, offsets(store) ? '2 radii' : each ? 'own top' : show(ends[1]));
}

function build(store, root, { say, signal }) {
  const panels = store.sources.map((_, s) => createSource(store, root, s)), fact = factsOf(root);
  for (const panel of panels) {
    listenToPointer(panel, pointerOf(store, panel, say), signal);
    listenToKeys(store, panel, root, keysOf(store), say, signal);
  }
  const followControls = createControls(store, root, (key, value) => store.change({ [key]: value }), signal);
  const followList = createList(store, root, say, signal);
  const follow = () => {
    followControls(store.info.lists);
    followList();
    root.querySelectorAll('.pb-ramp').forEach((ramp, s) => followRamp(store, s, ramp));
    showFacts(store, fact);
    put(root.querySelector('.pb-note'), store.answer?.note ?? '');
  };
  const spoken = () => {
    const k = current(store), { probe, scene, points } = store;
    const words = [k === null ? `${shownIn(store).length} maps` : scene.names[k], ...probe ? [`at ${probe}`] : []];
    store.sources.forEach((source, s) => {
      const p = points?.[s][k], value = probe && show(readAt(store, source, probe)[0]);
      words.push(`${source.title} ${value || (p?.found ? `score ${show(p.score)} at ${fixed(p.at, 1)}` : 'no peak')}`);
    });
    return words.join('. ');
  };
  return { panels, follow, spoken };
}

export default () => {
  let model;
  const options = { name: 'pb-heatmaps', title: 'HeatmapViewer: heatmaps', build, received,
    derive: (store, fresh) => { if (fresh) readMaps(store, model); } };
  const { initialize, render } = createWidget(options)();
  return {
    initialize(context) {
      ({ model } = context);
      options.page = pageOf(model.get('scene'), model.get('map_info'));
      return initialize(context);
    },
    render,
  };
};
