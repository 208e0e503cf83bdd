import {
  DECODED, apply, bytesOf, createControls, createPanel, createWidget, diamond, facts, factsOf, fixed, html, invert,
  label, listenToKeys, listenToPointer, paintHeatmap, panelHtml, put, range, RESET, rimmed, ring, select, textScale, write,
} from './canvas.js';

// LossExplorer: what is its own. No loss is computed here: values, gradients, landscapes and densities come
// from the kernel. Here a point is moved, and what came is drawn.

const CROP = 96, LEVELS = 14, FIELD = 10, RAY = 49, GRID = 81;
const NIGHT = '#12141f';

const floatsOf = ({ buffer, byteOffset, byteLength }) =>
  new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
const short = (v) => (v === 0 ? '0' : Math.abs(v) >= 1000 || Math.abs(v) < 0.001 ? v.toExponential(1) : `${+v.toPrecision(3)}`);
const viewOf = (store) => ({ RLELoss: 'flow' }[store.state.loss]
  ?? (store.scene.losses.heatmaps.includes(store.state.loss) ? 'heatmaps' : 'field'));

// ---- what came

/** Line segments where a map of n x n bytes crosses LEVELS values: marching squares, in cells. */
function contours(values, n) {
  const lines = [];
  for (let k = 1; k < LEVELS; k++) {
    const level = (255 * k) / LEVELS;
    for (let y = 0; y < n - 1; y++) {
      for (let x = 0; x < n - 1; x++) {
        const corners = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]], cuts = [];
        const heights = corners.map(([i, j]) => values[j * n + i] - level);
        for (let e = 0; e < 4; e++) {
          const f = (e + 1) % 4, a = heights[e], b = heights[f];
          if (a < 0 === b < 0) continue;
          cuts.push(corners[e].map((v, i) => v + (corners[f][i] - v) * (a / (a - b))));
        }
        for (let i = 0; i + 1 < cuts.length; i += 2) lines.push([cuts[i], cuts[i + 1]]);
      }
    }
  }
  return lines;
}

function received(store, { landscape, curves, pixels, flow }, sent) {
  const shown = store.shown ??= {};
  const key = [sent.loss, sent.unit, sent.sigma, sent.step, sent.height].join();
  if (shown.key !== key) {
    const values = bytesOf(landscape.values), { n } = landscape;
    Object.assign(shown, { key, field: floatsOf(landscape.field), reach: landscape.reach,
      surface: paintHeatmap(values, [n, n], shown.surface, 'viridis'), lines: contours(values, n) });
  }
  shown.table = floatsOf(curves.table);
  shown.names = curves.names;
  if (flow) {
    shown.errors = floatsOf(flow.errors);
    shown.flow = paintHeatmap(bytesOf(flow.values), [GRID, GRID], shown.flow);
  }
  if (pixels) {
    const map = bytesOf(pixels[sent.map]), size = [24, 24];
    shown.pixels = paintHeatmap(map, size, shown.pixels);
    if (sent.map === 'gradient') paintSigned(map, shown.pixels);
  }
}

/** Rose where a step raises the pixel, blue where it lowers it. */
function paintSigned(map, canvas) {
  const image = new ImageData(canvas.width, canvas.height);
  map.forEach((v, i) => image.data.set(v < 128 ? [238, 102, 119, 2 * (128 - v)] : [85, 153, 238, 2 * (v - 128)], 4 * i));
  canvas.getContext('2d').putImageData(image, 0, 0);
}

// ---- drawing

const night = (on) => { on.fillStyle = NIGHT; on.fillRect(0, 0, 4000, 4000); };

function arrow(ctx, [x, y], [dx, dy], color, width) {
  const length = Math.hypot(dx, dy);
  if (length < 1.5) return;
  const [ux, uy] = [dx / length, dy / length], head = Math.min(9, length), [tx, ty] = [x + dx, y + dy];
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(tx, ty);
  for (const s of [1, -1]) {
    ctx.moveTo(tx - head * (ux + s * uy * 0.6), ty - head * (uy - s * ux * 0.6));
    ctx.lineTo(tx, ty);
  }
  rimmed(ctx, color, width);
}

/** What the gradient asks for, as an arrow: `longest` where the field near the truth is steepest, and never more. */
function stepOf({ shown: { reach } }, [gx, gy], longest) {
  const by = longest / Math.max(reach, 1e-12), most = Math.hypot(gx, gy) * by;
  const cut = most > longest ? longest / most : 1;
  return [-gx * by * cut, -gy * by * cut];
}

function plus(ctx, [x, y]) {
  ctx.beginPath();
  for (const [dx, dy] of [[8, 0], [0, 8]]) {
    ctx.moveTo(x - dx, y - dy);
    ctx.lineTo(x + dx, y + dy);
  }
  rimmed(ctx, '#fff', 2.5);
}

function paintPlane(on, { shown }, { view }) {
  night(on);
  if (!shown) return;
  const n = shown.surface.width, cell = (CROP / (n - 1)) * view[0], [x, y] = apply(view, [0, 0]);
  on.fillStyle = '#440154'; // the lowest of viridis, which lets what is below shine through
  on.fillRect(0, 0, 4000, 4000);
  on.drawImage(shown.surface, x - cell / 2, y - cell / 2, n * cell, n * cell);
  on.beginPath();
  for (const [a, b] of shown.lines) {
    on.moveTo(x + a[0] * cell, y + a[1] * cell);
    on.lineTo(x + b[0] * cell, y + b[1] * cell);
  }
  on.strokeStyle = 'rgba(255,255,255,.4)';
  on.stroke();
}

/** The way that steps downhill have come, while the point is where the last one led. */
function drawTrail(ctx, { trail, state }, view) {
  if (!trail || `${trail.at(-1)}` !== `${state.point}`) return;
  ctx.beginPath();
  for (const p of trail) ctx.lineTo(...apply(view, p));
  rimmed(ctx, '#fff', 1.5, [4, 3]);
}

function createPlane(store, root) {
  const panel = createPanel(store, root, 'plane', {
    size: () => [CROP, CROP],
    key: () => store.shown?.key,
    paint: (on) => paintPlane(on, store, panel),
    draw(ctx, { view, width, caption }) {
      const { state, scene, answer } = store, at = apply(view, state.point);
      plus(ctx, apply(view, scene.truth));
      drawTrail(ctx, store, view);
      if (answer && !store.stale) {
        arrow(ctx, at, stepOf(store, answer.slope, 0.2 * width), DECODED, 3);
        label(ctx, short(answer.value), at, width);
      }
      ring(ctx, at, panel.focused());
      put(caption, `x ${fixed(state.point, 1).replace(', ', '  y ')}`);
    },
  });
  return panel;
}

/** Places, moved as little as may be, in their order, to be `gap` apart from `low` to `high`. */
function spread(places, gap, low, high) {
  const order = places.map((_, i) => i).sort((i, j) => places[i] - places[j]), n = places.length, moved = [];
  const step = Math.min(gap, (high - low) / Math.max(n - 1, 1));
  let last = low;
  order.forEach((i, k) => {
    last = Math.min(Math.max(last, places[i] - k * step), high - (n - 1) * step);
    moved[i] = last + k * step;
  });
  return moved;
}

/** One curve in a plot: where its point i is. Values go from their lowest to their highest, lengths from 0. */
function placesOf(values, row, { left, right, bottom, tall }) {
  const low = row ? 0 : Math.min(...values), high = Math.max(...values);
  return (i) => [left + (right - left) * (i / (RAY - 1)), bottom - tall * ((values[i] - low) / Math.max(high - low, 1e-12))];
}

/** Two plots, values above and lengths of gradients below; each curve is labelled at its end, the chosen one on top. */
function paintCurves(on, { shown, state, scene }, { canvas, width, height }) {
  night(on);
  if (!shown) return [];
  const k = Math.min(textScale({ canvas }), Math.max(1, width / 330)), left = 12, right = width - Math.min(width * 0.36, 108 * k), tall = height / 2 - 26 - 17 * k;
  const { names } = shown, order = names.filter((name) => name !== state.loss).concat(state.loss), at = [];
  [['loss: lowest to highest', 14 + 12 * k], ['pull: length of the gradient', height / 2 + 12 * k]].forEach(([title, top], row) => {
    const frame = { left, right, bottom: top + tall + 6, tall };
    write(on, title, left, top - 8, 11 * k);
    Object.assign(on, { strokeStyle: 'rgba(255,255,255,.25)', lineWidth: 1 });
    on.strokeRect(left, top, right - left, tall + 8);
    const table = names.map((_, l) => shown.table.subarray((2 * l + row) * RAY).subarray(0, RAY));
    const places = table.map((values) => placesOf(values, row, frame));
    // of curves that end alike, the one that runs higher is labelled higher
    const ends = places.map((place) => place(RAY - 1)[1] + 1e-3 * place(RAY / 2 - 0.5)[1]);
    const heights = spread(ends, 13 * k, top + 4, top + tall + 6);
    for (const name of order) {
      const l = names.indexOf(name), own = name === state.loss, place = places[l];
      if (l < 0) continue;
      on.beginPath();
      for (let i = 0; i < RAY; i++) on.lineTo(...place(i));
      Object.assign(on, { lineWidth: own ? 3.5 : 1.5, strokeStyle: scene.colors[name], fillStyle: scene.colors[name] });
      on.setLineDash(scene.dashes[name]);
      on.stroke();
      on.beginPath();
      on.moveTo(...place(RAY - 1));
      on.lineTo(right + 12, heights[l]);
      on.lineWidth = own ? 1.5 : 0.7;
      on.stroke();
      on.setLineDash([]);
      on.font = `${own ? 800 : 500} ${10 * k}px system-ui, sans-serif`;
      on.textBaseline = 'middle';
      on.fillText(name.replace('Loss', ''), right + 15, heights[l], width - right - 17);
      if (own) at.push((d) => place(Math.min(RAY - 1, Math.round(d))));
    }
  });
  for (const d of [0, 12, 24, 36, 48]) {
    const text = d < 48 ? `${d}` : '48 px';
    write(on, text, left + (right - left) * (d / 48) - (d ? 6 * k * text.length : 0), height - 8, 11 * k);
  }
  return at;
}

function createCurves(store, root) {
  let at = [];
  const panel = createPanel(store, root, 'curves', {
    size: () => [CROP, CROP],
    title: () => 'by distance',
    key: () => [store.answer?.id, store.shown?.key],
    paint: (on) => { at = paintCurves(on, store, panel); },
    draw(ctx) {
      const { answer } = store;
      for (const place of at) {
        ctx.beginPath();
        ctx.arc(...place(answer.distance), 5, 0, 7);
        ctx.fillStyle = DECODED;
        ctx.fill();
      }
      put(panel.caption, answer ? `${answer.distance.toFixed(1)} px off` : '');
    },
  });
  return panel;
}

/** Circles where a bump of sigma 2 is half as high. */
function bumpRing(ctx, view, p, color, dash) {
  ctx.beginPath();
  ctx.arc(...apply(view, p.map((v) => v / 4)), 2 * 1.18 * view[0], 0, 7);
  rimmed(ctx, color, 2, dash);
}

const DETAIL = {
  field: { title: 'steps from everywhere', space: 'input', size: CROP,
    paint(on, store, { view, width }) {
      const { shown: { field } } = store;
      for (let i = 0; i < FIELD * FIELD; i++) {
        const p = [i % FIELD, Math.floor(i / FIELD)].map((v) => (v * (CROP - 1)) / (FIELD - 1));
        arrow(on, apply(view, p), stepOf(store, field.subarray(2 * i), 0.1 * width), '#9fd8ff', 1.6);
      }
    },
    draw(ctx, store, { view }) {
      const { state, scene } = store;
      plus(ctx, apply(view, scene.truth));
      ring(ctx, apply(view, state.point));
      return `longest: ${short(store.shown.reach)} a px`;
    } },
  heatmaps: { title: 'pixel by pixel', space: 'output', size: 24,
    paint(on, { shown }, { width, height }) {
      on.imageSmoothingEnabled = false;
      on.drawImage(shown.pixels, 0, 0, width, height);
    },
    draw(ctx, { state, scene }, { view }) {
      bumpRing(ctx, view, scene.truth, '#fff', [5, 4]);
      bumpRing(ctx, view, state.point, DECODED, []);
      return state.map === 'gradient' ? 'rose: a step raises it' : '';
    } },
  flow: { title: 'errors in doubts', space: 'detail', size: GRID,
    paint(on, { shown }, { view, width, height }) {
      on.drawImage(shown.flow, 0, 0, width, height);
      on.fillStyle = '#9fd8ff';
      for (let i = 0; i < shown.errors.length; i += 2) {
        const [x, y] = apply(view, [0, 1].map((k) => (shown.errors[i + k] + 4) * 10));
        on.fillRect(x - 1, y - 1, 2, 2);
      }
    },
    draw(ctx, { answer }, { view }) {
      plus(ctx, apply(view, [40, 40]));
      diamond(ctx, apply(view, answer.flow.doubts.map((v) => (v + 4) * 10)));
      return `mean loss ${answer.flow.mean.toFixed(2)}`;
    } },
};

/** What there is to show: it may lag behind the choice by an answer. */
const ready = ({ shown, answer, state }, kind) => answer && shown && state.loss === shown.key.split(',')[0]
  && (kind === 'flow' ? answer.flow : kind === 'heatmaps' ? answer.pixels : true);

function createDetail(store, root) {
  const kind = () => DETAIL[viewOf(store)];
  const panel = createPanel(store, root, 'detail', {
    size: () => [kind().size, kind().size],
    title: () => ({ heatmaps: store.state.map, flow: 'on their density' }[viewOf(store)] ?? ''),
    key: () => [viewOf(store), store.answer?.id],
    paint(on) {
      night(on);
      if (ready(store, viewOf(store))) kind().paint(on, store, panel);
    },
    draw(ctx) {
      put(panel.caption, ready(store, viewOf(store)) ? kind().draw(ctx, store, panel) || ' ' : ' ');
      const figure = panel.canvas.parentElement;
      put(figure.querySelector('b'), kind().title);
      figure.className = `pb-panel pb-owed pb-${kind().space}`;
    },
  });
  return panel;
}

// ---- moving

const move = (store, p) => store.change({ point: p.map((v) => Math.max(0, Math.min(CROP - 1, v))) });

/** To where the kernel found the loss lower, along minus the gradient; nowhere if it never is. */
function downhill(store) {
  const { answer, state: { point }, trail = [] } = store, to = answer?.next;
  if (!to || store.asking || store.stale) return;
  store.trail = [...(`${trail.at(-1)}` === `${point}` ? trail : [point]), to];
  move(store, to);
}

/** A press takes the point there. */
function pointerOf(store, panel, say) {
  const drag = (_, p) => move(store, apply(invert(panel.view), p));
  return { press(p) { drag(0, p); return {}; }, drag, drop: say };
}

const keysOf = (store) => ({
  arrow: (...by) => move(store, store.state.point.map((v, i) => v + by[i])),
  press(key) {
    if (key !== 'Enter') return false;
    downhill(store);
    return true;
  },
});

/** Play the flow's training, a state every 350 ms. */
function playOf(store, button, signal) {
  let clock = 0;
  const show = () => put(button, clock ? 'stop' : 'train the flow');
  const stop = () => { clearInterval(clock); clock = 0; show(); };
  signal.addEventListener('abort', stop);
  button.addEventListener('click', () => {
    if (clock) return stop();
    store.change({ step: 0 });
    clock = setInterval(() => {
      const step = store.state.step + 1;
      if (store.state.loss !== 'RLELoss' || step >= store.scene.steps.length) return stop();
      store.change({ step });
    }, 350);
  }, { signal });
  return show;
}

// ---- the page

const PAGE = html`<div class="pb-panels">
  ${panelHtml('plane', 'input space', 'Arrows move the prediction by a pixel, with Shift by ten. Enter: one step downhill. Escape: leave.', 'input pb-owed')}
  ${panelHtml('curves', 'all losses', 'Curves of value and gradient.', 'curves pb-owed')}
  ${panelHtml('detail', 'detail', 'Gradients, heatmap or density.', 'detail pb-owed')}</div>
<div class="pb-controls">${select('loss')}${select('unit', 'coordinates in')}${select('map', 'map shown')}
  ${range('height', 0.05, 0.95, 0.05, 'height of the bump')}${range('sigma', 1, 40, 0.5, 'sigma (input px)')}
  ${range('step', 0, 8, 1, 'state of the flow')}
  <div class="pb-checks"><button type="button" class="pb-downhill">one step downhill</button>
  <button type="button" class="pb-train">train the flow</button>${RESET}</div></div>
<div class="pb-facts">${facts('here', ['value', 'loss'], ['slope', 'gradient, per px'], ['pull', 'its length'])}
  ${facts('over the crop', ['low', 'lowest'], ['where', 'there'], ['high', 'colours end at'], ['steepest', 'steepest within 32 px'])}
  ${facts('RLE at sigma', ['mean', 'mean loss of the errors'], ['density', 'density at the point'], ['trained', 'batches seen'])}
  ${facts('heatmap', ['scale', 'largest pixel gradient'], ['height', 'height'], ['apart', 'off, heatmap px'])}</div>`;

function showFacts({ answer, state, scene }, fact) {
  const { value, slope, landscape, flow, pixels, distance } = answer;
  const texts = { value: short(value), slope: slope.map(short).join(', '), pull: short(Math.hypot(...slope)),
    low: short(landscape.lowest), where: fixed(landscape.at, 1), high: short(landscape.high), steepest: short(landscape.steepest) };
  if (flow) {
    Object.assign(texts, { mean: flow.mean.toFixed(2), density: short(flow.density), trained: `${scene.steps[state.step]}` });
  }
  if (pixels) {
    Object.assign(texts, { scale: short(pixels.scale), height: `${state.height}`, apart: (distance / 4).toFixed(2) });
  }
  for (const key of Object.keys(fact)) put(fact[key], texts[key] ?? '');
  fact.mean.closest('section').hidden = !flow;
  fact.scale.closest('section').hidden = !pixels;
}

/** Only the controls that the loss listens to. */
function showControls(root, store) {
  const kind = viewOf(store), uses = { field: ['unit'], heatmaps: ['map', 'height'], flow: ['sigma', 'step'] }[kind];
  for (const c of root.querySelectorAll('[data-key]')) {
    c.closest('label').hidden = c.dataset.key !== 'loss' && !uses.includes(c.dataset.key);
  }
  root.querySelector('.pb-train').hidden = kind !== 'flow';
}

function build(store, root, { say, signal }) {
  const panels = [createPlane(store, root), createCurves(store, root), createDetail(store, root)];
  const [plane] = panels, fact = factsOf(root), { scene } = store;
  listenToPointer(plane, pointerOf(store, plane, say), signal);
  for (const p of panels) listenToKeys(store, p, root, keysOf(store), say, signal);
  const controls = createControls(store, root, (key, value) => { store.change({ [key]: value }); say(); }, signal);
  const down = root.querySelector('.pb-downhill');
  down.addEventListener('click', () => { downhill(store); say(); }, { signal });
  const play = playOf(store, root.querySelector('.pb-train'), signal);
  const pairs = (list) => list.map((v) => [v, v]);
  controls({ loss: pairs([...scene.losses.points, ...scene.losses.heatmaps]), unit: pairs(scene.units), map: pairs(scene.maps) });
  let now;
  const follow = () => {
    controls();
    play();
    showControls(root, store);
    if (!store.answer || now === store.answer) return;
    now = store.answer;
    put(down, now.next ? 'one step downhill' : 'no step leads down');
    down.disabled = !now.next;
    showFacts(store, fact);
  };
  const spoken = () => {
    const { answer, state } = store;
    if (!answer) return '';
    return `${state.loss} ${short(answer.value)}, ${answer.distance.toFixed(1)} pixels off, gradient ${answer.slope.map(short).join(', ')}`
      + (answer.next ? '' : ', no step along it leads down')
      + (answer.flow ? `, mean loss of the errors ${answer.flow.mean.toFixed(2)}` : '');
  };
  return { panels, follow, spoken };
}

export default createWidget({ name: 'pb-losses', title: 'LossExplorer: a prediction and its loss', page: PAGE, received, build });
