import {
  COLOR, DECODED, NEAR, apply, bytesOf, check, createControls, createPanel, createWidget, diamond,
  drawHeatmap, drawPicture, drawPose, facts, factsOf, fixed, html, invert, label, listenToKeys, listenToPointer,
  mul, paintHeatmap, panelHtml, polygon, put, range, rectangle, RESET, rimmed, ring, select,
} from './canvas.js';

// CodecLab: what is its own. No codec is computed here: targets, decoded points, errors, surfaces and the
// crops' matrices come from the kernel. Here a point is moved, and what came is drawn.
//
// A side has two panels: `left`, its crop, and `left_map`, one output pixel. In the latter's space the
// middle of the pixel is at 0 and its sides are 1 long.

const SIDES = ['left', 'right'];
const EDGE = 4; // input pixels around the crop: the outer cells reach beyond it
const AROUND = 0.22; // what is shown around the one output pixel
const NONE = 255; // in a surface: nothing came back
const LEAST = 0.01; // the shortest colour scale, in input pixels

const fill = (on) => on.fillRect(0, 0, 4000, 4000); // all of a panel

/** The name in the menu of the codec that a config describes. */
const kindOf = ({ presets, picks }, config) => (config ? Object.keys(presets).find((kind) =>
  Object.entries(picks[kind]).every(([key, value]) => config[key] === value)) : 'none');

/** One side: what the kernel said last (`now`), its codec's config, and the selected point in its crop. */
const sideOf = (store, name) => ({
  store, name, memory: {}, shown: {},
  get now() { return store.answer?.[name]; },
  get config() { return store.state[name]; },
  /** Whether the selected point has a label. */
  get labelled() { return !!store.scene.visible[store.state.selected]; },
  get point() { return apply(this.now.matrix, store.state.keypoints[store.state.selected]); },
  /** The one output pixel that the point is in. */
  get cell() { return this.point.map((v, i) => Math.floor(v / this.now.step[i] + 0.5)); },
  /** From the crop to the space of that pixel. */
  get toPixel() {
    const [cx, cy] = this.cell, [sx, sy] = this.now.step;
    return [1 / sx, 0, -cx, 0, 1 / sy, -cy];
  },
  /** The name of its codec in the menu. */
  get kind() { return kindOf(store.scene, this.config); },
  /** What its controls are reset to: what Python set, or with another codec that one's preset. */
  get first() {
    const first = store.first[name];
    if (kindOf(store.scene, first) === this.kind || !this.config) return first;
    const { input_size, heatmap_size } = this.config, preset = store.scene.presets[this.kind];
    return { ...preset, input_size, ...preset.heatmap_size && { heatmap_size } };
  },
});

function derive(store) {
  store.sides ??= SIDES.map((name) => sideOf(store, name));
  for (const side of store.sides) {
    if (side.config) Object.assign(side.memory, { [side.kind]: side.config, last: side.config });
  }
}

function received(store, result) {
  const peaks = SIDES.map((name) => result[name]?.surface.peak ?? 0);
  for (const { now, shown } of store.sides) {
    if (!now) continue;
    const { target, surface: { n, peak, values } } = now;
    if (target.kind === 'map') shown.map = paintHeatmap(bytesOf(target.map), target.shape, shown.map);
    shown.top = Math.max(LEAST, ...(store.state.same_scale ? peaks : [peak]));
    shown.values = bytesOf(values);
    const bytes = Uint8Array.from(shown.values, (v) => (v === NONE ? 0 : v * 255 / 254 * peak / shown.top));
    shown.surface = paintHeatmap(bytes, [n, n], shown.surface, 'viridis');
  }
}

// ---- a crop and its target

/** What stays while the point moves: picture, what is not in the crop, the map's grid. */
function drawBackdrop(on, store, { view, size }, { matrix, target }, cells) {
  fill(on);
  drawPicture(on, store, mul(view, matrix));
  on.fillStyle = 'rgba(8,8,24,.6)';
  on.rect(0, 0, 4000, 4000);
  on.rect(EDGE * view[0], EDGE * view[0], size[0] * view[0], size[1] * view[0]);
  if (target.kind === 'rows') fill(on);
  else on.fill('evenodd');
  if (!cells) return;
  on.translate(...cells.at);
  drawHeatmap(on, cells);
}

/** Where a map's pixels really lie: the middle of pixel (x, y) is at (x, y) * stride of the crop. */
function cellsOf({ view }, { kind, shape, stride }) {
  if (kind !== 'map') return null;
  const [h, w] = shape, at = apply(view, stride.map((s) => -s / 2)), [sx, sy] = stride.map((s) => s * view[0]);
  return { at, width: w * sx, height: h * sy, view: [sx], size: [w, h] };
}

/** Rows as bars, x from the lower edge up and y from the left edge to the right, a third of the crop high. */
function drawRows(on, { view, width, height, size }, { shape, rows_x, rows_y }) {
  [rows_x, rows_y].forEach((row, axis) => {
    const bins = shape[axis], step = size[axis] / bins * view[0], start = (EDGE + 0.5) * view[0] - step / 2;
    const reach = 0.33 * width / 254, edge = EDGE * view[0], base = axis ? edge : height - edge;
    on.beginPath();
    const to = (along, v) => (axis ? on.lineTo(base + v * reach, along) : on.lineTo(along, base - v * reach));
    to(start, 0);
    bytesOf(row).forEach((v, i) => { to(start + i * step, v); to(start + (i + 1) * step, v); });
    to(start + bins * step, 0);
    on.fillStyle = 'rgba(252,165,10,.75)';
    on.fill();
    rimmed(on, '#fcffa4', 1);
  });
}

/** Two numbers: how far along each axis the point is. */
function drawNumbers(ctx, { view, width, size }, { numbers }) {
  const at = apply(view, numbers.map((v, i) => v * size[i])), zero = apply(view, [0, 0]);
  ctx.beginPath();
  ctx.moveTo(at[0], zero[1]);
  ctx.lineTo(...at);
  ctx.lineTo(zero[0], at[1]);
  rimmed(ctx, '#fcffa4', 1.5, [5, 4]);
  label(ctx, `x ${numbers[0].toFixed(4)}`, [at[0] - 46, zero[1] + 26], width);
  label(ctx, `y ${numbers[1].toFixed(4)}`, [zero[0] - 8, at[1]], width);
}

function drawCrop(ctx, side, panel) {
  const { store: { state, scene }, now } = side, { size, view } = panel;
  if (!now) return;
  const points = state.keypoints.map((p) => apply(mul(view, now.matrix), p));
  polygon(ctx, rectangle(-0.5, -0.5, size[0] - 0.5, size[1] - 0.5).map((p) => apply(view, p)));
  rimmed(ctx, COLOR.input, 1);
  drawPose(ctx, points, scene, 0.4);
  if (now.target.numbers) drawNumbers(ctx, panel, now.target);
  if (now.decoded && !side.store.stale) diamond(ctx, apply(view, now.decoded.input));
  if (side.labelled) ring(ctx, points[state.selected], panel.focused());
  put(panel.caption, `x ${fixed(side.point).replace(', ', '  y ')}`);
}

function createCrop(root, side) {
  const { store } = side, backdrop = document.createElement('canvas');
  const panel = createPanel(store, root, side.name, {
    size: () => (side.config ?? store.state.left).input_size,
    margin: () => EDGE,
    title: () => `${panel.size.join(' × ')}${side.now?.udp ? ', UDP' : ''}`,
    key: () => store.answer?.id,
    paint(on, { canvas: { width, height }, dpr }) {
      const { now } = side;
      if (!now) return;
      const { target, matrix } = now, cells = cellsOf(panel, target);
      const key = `${[width, height, cells?.size, matrix, target.kind, !!store.picture]}`;
      if (key !== backdrop.key) {
        Object.assign(backdrop, { key, width, height });
        const ctx = backdrop.getContext('2d');
        ctx.scale(dpr, dpr);
        drawBackdrop(ctx, store, panel, now, cells);
      }
      on.drawImage(backdrop, 0, 0, width / dpr, height / dpr);
      on.imageSmoothingEnabled = false;
      if (cells) on.drawImage(side.shown.map, ...cells.at, cells.width, cells.height);
      if (target.kind === 'rows') drawRows(on, panel, target);
    },
    draw: (ctx) => drawCrop(ctx, side, panel),
  });
  return panel;
}

// ---- one output pixel and its errors

function paintSurface(on, { store, now, toPixel, shown: { surface, values } }, view) {
  fill(on);
  drawPicture(on, store, mul(view, mul(toPixel, now.matrix)));
  on.fillStyle = 'rgba(8,8,24,.45)';
  fill(on);
  const [x, y] = apply(view, [-0.5, -0.5]), n = surface.width, s = view[0] / n;
  on.fillStyle = '#440154'; // the lowest of viridis, which lets what is below shine through
  on.fillRect(x, y, view[0], view[0]);
  on.imageSmoothingEnabled = false;
  on.drawImage(surface, x, y, view[0], view[0]);
  on.fillStyle = '#99a';
  values.forEach((v, i) => { if (v === NONE) on.fillRect(x + (i % n) * s, y + Math.floor(i / n) * s, s + 1, s + 1); });
}

function drawPixel(ctx, { now, point, toPixel, labelled, store }, panel) {
  const { view } = panel, place = mul(view, toPixel), at = apply(place, point);
  polygon(ctx, rectangle(-0.5, -0.5, 0.5, 0.5).map((p) => apply(view, p)));
  rimmed(ctx, '#fff', 1.5);
  if (!labelled) return;
  if (now.decoded && !store.stale) {
    const back = apply(place, now.decoded.input);
    ctx.beginPath();
    ctx.moveTo(...at);
    ctx.lineTo(...back);
    rimmed(ctx, DECODED, 2);
    diamond(ctx, back, DECODED, 7);
  }
  ring(ctx, at, panel.focused());
}

function createPixel(root, side) {
  const panel = createPanel(side.store, root, `${side.name}_map`, {
    size: () => [1, 1],
    margin: () => AROUND,
    title: () => (side.now ? `${side.now.step.map((v) => +v.toFixed(2)).join(' × ')} px` : ''),
    key: () => [side.store.answer?.id, side.now && side.cell],
    paint: (on) => side.now && paintSurface(on, side, panel.view),
    draw: (ctx) => side.now && drawPixel(ctx, side, panel),
  });
  return panel;
}

// ---- pointer and keyboard

/** Put the selected point to (x, y) of a side's input space, in the crop or near its edge. */
function moveTo({ store, config }, { matrix }, p) {
  const keypoints = [...store.state.keypoints], [x, y] = p.map((v, i) =>
    Math.max(-EDGE, Math.min(config.input_size[i] - 1 + EDGE, v)));
  keypoints[store.state.selected] = apply(invert(matrix), [x, y]);
  store.change({ keypoints });
}

function nearest({ state, scene }, toView, [x, y]) {
  const gaps = state.keypoints.map((k, i) => {
    const [px, py] = apply(toView, k);
    return scene.visible[i] ? Math.hypot(px - x, py - y) - (i === state.selected) : Infinity;
  });
  const least = Math.min(...gaps);
  return least < NEAR ? gaps.indexOf(least) : -1;
}

function cropPointer(side, panel, say) {
  const { store } = side, at = (p) => apply(invert(panel.view), p);
  const near = (p) => (side.now ? nearest(store, mul(panel.view, side.now.matrix), p) : -1);
  return {
    press(p) {
      const selected = near(p);
      if (selected < 0) return null;
      if (selected !== store.state.selected) store.change({ selected });
      const start = at(p);
      return { now: side.now, offset: side.point.map((v, i) => v - start[i]) };
    },
    drag: ({ now, offset }, p) => moveTo(side, now, at(p).map((v, i) => v + offset[i])),
    drop: say,
    hover: (p) => (near(p) >= 0 ? 'grab' : 'default'),
  };
}

/** In the one pixel a press takes the point there; a drag stays in the pixel. */
function pixelPointer(side, panel, say) {
  const drag = ({ now, back }, p) => moveTo(side, now, apply(back, apply(invert(panel.view), p)
    .map((v) => Math.max(-0.499, Math.min(0.499, v)))));
  return {
    press(p) {
      const taken = side.now && { now: side.now, back: invert(side.toPixel) };
      if (taken) drag(taken, p);
      return taken;
    },
    drag,
    drop: say,
  };
}

/** Arrows move by an input pixel, or by a tenth of the one output pixel; with Shift ten times as far. */
const keysOf = (side, fine) => ({
  arrow(...by) {
    if (side.now) moveTo(side, side.now, side.point.map((v, i) => v + by[i] * (fine ? side.now.step[i] / 10 : 1)));
  },
});

// ---- the page

// key, lowest, highest, step, text
const RANGES = [['sigma', 0.25, 6, 0.25, 'sigma (map px)'], ['radius_factor', 0.01, 0.15, 0.005],
  ['blur_kernel_size', 1, 31, 2], ['kernel_size', 1, 31, 2], ['simcc_split_ratio', 1, 6, 0.5],
  ['bin_sigma', 0.5, 20, 0.5, 'sigma (bins)'], ['label_smooth_weight', 0, 0.9, 0.05, 'smooth weight']];
const CHECKS = [['unbiased', 'unbiased (DARK)', 'bumps on the exact point'],
  ['use_dark', 'use_dark', 'decode between the bins'], ['normalize', 'normalize', 'each row adds up to 1']];

const sideHtml = (side) => html`<section class="pb-side" data-side="${side}">
  <div class="pb-controls">${select('codec', `${side} codec`)}
    ${select('heatmap_size', 'heatmap_size (w, h)', `${side} heatmap_size (w, h)`)}
    ${RANGES.map(([key, low, high, step, text = key]) => range(key, low, high, step, text, `${side} ${text}`))}
    <div class="pb-checks">${CHECKS.map(([key, text, title]) => check(key, text, title, `${side} ${text}`))}</div></div>
  <div class="pb-pair">${panelHtml(side, 'input space', 'Arrows move the keypoint by an input pixel, '
    + 'with Shift by ten. Escape: leave.', 'input', { said: `${side} codec, input space` })}
  <div class="pb-column">${panelHtml(`${side}_map`, 'error', 'One output pixel. Arrows move the keypoint by a tenth of it, '
    + 'with Shift by all of it.', 'output', { said: `${side} codec, error` })}
    <div class="pb-ramp"><span>0</span><i></i><output></output></div>
    <div class="pb-owed">${facts(html`<i class="pb-mark"></i>decode(encode(x))`, ['input', 'input error'], ['image', 'image error'],
      ['decoded', 'decoded'], ['over', 'mean, max'])}</div></div></div>
  <div class="pb-code"><pre tabindex="0" aria-label="${side} codec as code" data-lm-suppress-shortcuts="true"></pre>
    <button type="button" aria-label="copy the ${side} codec as code">copy as code</button></div></section>`;

const PAGE = html`<div class="pb-sides">${SIDES.map(sideHtml)}</div>
<div class="pb-controls pb-shared">${select('selected', 'keypoint')}${range('noise', 0, 0.5, 0.01, 'noise (heights)')}
  ${range('seed', 0, 20, 1, 'noise, draw')}<div class="pb-checks">
  ${check('same_scale', 'same scale', 'of both errors')}${RESET}</div></div>`;

/** The config after one control of a side was moved. */
function changed({ store: { scene: { presets }, state }, config, memory }, key, value) {
  if (key !== 'codec') return { ...config, [key === 'bin_sigma' ? 'sigma' : key]: value };
  if (!presets[value]) return null;
  const { input_size } = memory.last ?? state.left, { heatmap_size = memory.size } = memory.last ?? {};
  memory.size = heatmap_size;
  const next = { ...(memory[value] ?? presets[value]), input_size };
  return next.heatmap_size && heatmap_size ? { ...next, heatmap_size } : next;
}

/** The state of a side as its controls want it. */
function controlsOf({ store, config, kind, name }, of = config) {
  const sigma = [of?.sigma ?? 1].flat()[0], codec = of === config ? kind : kindOf(store.scene, store.first[name]);
  return { ...store.scene.blank, ...of, codec, sigma, bin_sigma: sigma };
}

function choicesOf({ store: { scene, state }, config, name }) {
  const [w, h] = (config ?? state.left).input_size, codecs = Object.keys(scene.presets);
  const sizes = [2, 4, 8, 16].filter((k) => w % k + h % k === 0).map((k) => [w / k, h / k]);
  if (config?.heatmap_size) sizes.push(config.heatmap_size);
  return { codec: (name === 'right' ? [...codecs, 'none'] : codecs).map((c) => [c, c]),
    heatmap_size: [...new Map(sizes.map((s) => [`${s}`, [s, s.join(' × ')]])).values()] };
}

/** The code is selected too: where the clipboard is closed, the reader's own keys copy it. */
function copy(pre, button) {
  getSelection().selectAllChildren(pre);
  navigator.clipboard?.writeText(pre.textContent).then(() => put(button, 'copied'), () => {});
}

function showSide({ now, shown, labelled }, find, fact) {
  const { code, decoded: d, surface: { mean, max } } = now;
  const px = (v) => (v < 0.0005 ? '< 0.001 px' : `${v.toFixed(v < 0.1 ? 3 : 2)} px`);
  put(find('pre'), code);
  put(find('.pb-code button'), 'copy as code');
  put(find('.pb-ramp output'), px(shown.top));
  put(fact.input, d ? px(d.error_input) : labelled ? 'nothing comes back' : 'no label');
  put(fact.image, d ? px(d.error_image) : '–');
  put(fact.decoded, d ? fixed(d.input) : '–');
  put(fact.over, mean === null ? '–' : max < 0.0005 ? px(max) : `${px(mean).slice(0, -3)}, ${px(max)}`);
}

/** Only the controls that the codec has. */
function showControls({ store, config, kind }, section) {
  const uses = store.scene.uses[kind] ?? [];
  const idle = config?.smoothing_type === 'standard' && !config.use_dark ? 'bin_sigma' : '';
  section.classList.toggle('pb-none', !config);
  for (const c of section.querySelectorAll('[data-key]')) {
    const { key } = c.dataset;
    c.closest('label').hidden = key !== 'codec' && (key === idle || !uses.includes(key));
  }
}

function buildSide(root, side, { say, signal }) {
  const { store, name } = side, section = root.querySelector(`[data-side=${name}]`), fact = factsOf(section);
  const find = (what) => section.querySelector(what);
  const crop = createCrop(root, side), pixel = createPixel(root, side);
  listenToPointer(crop, cropPointer(side, crop, say), signal);
  listenToPointer(pixel, pixelPointer(side, pixel, say), signal);
  listenToKeys(store, crop, root, keysOf(side, false), say, signal);
  listenToKeys(store, pixel, root, keysOf(side, true), say, signal);
  const controlled = { get state() { return controlsOf(side); }, get first() { return controlsOf(side, side.first); } };
  const controls = createControls(controlled, section, (key, value) => {
    store.change({ [name]: changed(side, key, value) });
    say();
  }, signal);
  find('.pb-code button').addEventListener('click', () => copy(find('pre'), find('.pb-code button')), { signal });
  let config, now; // nothing is written twice in a drag
  const follow = () => {
    if (config !== side.config) {
      ({ config } = side);
      showControls(side, section);
      controls(choicesOf(side));
    }
    if (now !== side.now) {
      ({ now } = side);
      if (now) showSide(side, find, fact);
    }
  };
  return { panels: [crop, pixel], follow };
}

function build(store, root, tools) {
  const built = store.sides.map((side) => buildSide(root, side, tools));
  const shared = createControls(store, root.querySelector('.pb-shared'),
    (key, value) => store.change({ [key]: value }), tools.signal);
  shared({ selected: store.scene.names.map((name, i) => [i, name]) });
  const follow = () => {
    shared();
    for (const side of built) side.follow();
  };
  const spoken = () => store.sides.filter((side) => side.now).map(({ name, now: { point, decoded: d } }) =>
    `${name}: point at ${fixed(point)}, ${d ? `decoded at ${fixed(d.input)}, error ${d.error_input.toFixed(2)} input pixels`
      : store.scene.visible[store.state.selected] ? 'nothing comes back' : 'no label'}`).join('. ');
  return { panels: built.flatMap((side) => side.panels), follow, spoken };
}

export default createWidget({ name: 'pb-lab', title: 'CodecLab: one keypoint, two codecs', page: PAGE, derive, received, build });
