// What posebook's widgets share in the browser: geometry, heatmaps, drawing, panels, pointer and keys. The rest
// is in store.js (state, answers, undo) and page.js (HTML, controls, the page). A widget's own script begins with
// `import { ... } from './canvas.js'`; `join_script` in posebook/widgets/base.py puts what it uses in that place.
//
// A 2x3 matrix is flat, [a, b, c, d, e, f]: x' = a x + b y + c, y' = d x + e y + f. The centre of pixel 0
// is at 0, so a picture of width w covers -0.5 .. w - 0.5.

import { put } from './page.js';

export * from './page.js';
export * from './store.js';

export const COLOR = { image: '#4477AA', input: '#EE6677', output: '#228833' };
export const SIDE = { middle: '#FFFFFF', left: '#66CCEE', right: '#EECC44' };
export const DECODED = '#FF4FD8';
export const NEAR = 12; // how far from a handle a press still takes it, in CSS pixels

// ---- geometry

/** First q, then p. */
export const mul = (p, q) => [0, 3].flatMap((r) => [0, 1, 2].map((c) =>
  p[r] * q[c] + p[r + 1] * q[c + 3] + (c === 2 ? p[r + 2] : 0)));

export const apply = (m, [x, y]) => [m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]];

export const invert = (m) => {
  const det = m[0] * m[4] - m[1] * m[3];
  const [a, b, d, e] = [m[4] / det, -m[1] / det, -m[3] / det, m[0] / det];
  return [a, b, -a * m[2] - b * m[5], d, e, -d * m[2] - e * m[5]];
};

export const rectangle = (x1, y1, x2, y2) => [[x1, y1], [x2, y1], [x2, y2], [x1, y2]];
export const fixed = (p, n = 2) => `${p[0].toFixed(n)}, ${p[1].toFixed(n)}`;

// ---- heatmaps

// Each has six colours at equal steps. The picture below shines through where a heatmap is low.
const RAMPS = {
  inferno: '000004420a68932667dd513afca50afcffa4',
  viridis: '4401544144872a788e22a8847ad151fde725',
  magma: '0000043b0f708c2981de4968fe9f6dfcfdbf',
  greys: '000000333333666666999999ccccccffffff',
};
export const COLORMAPS = Object.keys(RAMPS);
const tables = {};

/** 256 colours as the words of an ImageData. */
function tableOf(name) {
  const part = (i, c) => parseInt(RAMPS[name].substr(6 * i + 2 * c, 2), 16);
  return tables[name] ??= new Uint32Array(Uint8ClampedArray.from({ length: 1024 }, (_, n) => {
    const at = Math.min((n >> 2) / 51, 4.999), i = Math.floor(at), c = n % 4;
    return c === 3 ? 2.5 * (n >> 2) : part(i, c) + (at - i) * (part(i + 1, c) - part(i, c));
  }).buffer);
}

/** Bytes that came from Python (a DataView) as a Uint8Array; no copy. */
export const bytesOf = ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength);

/** uint8 `values` of `shape` [h, w] as a small canvas, one pixel a cell; reuses `canvas`. */
export function paintHeatmap(values, [h, w], canvas, name = 'inferno') {
  canvas ??= document.createElement('canvas');
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const pixels = new ImageData(w, h), words = new Uint32Array(pixels.data.buffer), table = tableOf(name);
  values.forEach((v, i) => { words[i] = table[v]; });
  canvas.getContext('2d').putImageData(pixels, 0, 0);
  canvas.values = values;
  return canvas;
}

/** The heatmap's cells over the whole panel, over a dimmed picture. */
export function drawHeatmap(on, { width, height, view, size: [w, h] }, heatmap, opacity = 1) {
  on.fillStyle = 'rgba(8,8,24,.6)';
  on.fillRect(0, 0, width + 1, height + 1);
  on.imageSmoothingEnabled = false;
  on.globalAlpha = opacity;
  if (heatmap) on.drawImage(heatmap, 0, 0, width, height);
  on.globalAlpha = 1;
  if (view[0] < 3.5) return;
  on.fillStyle = 'rgba(255,255,255,.12)';
  for (let i = 1; i < w; i++) on.fillRect(Math.round(i * view[0]), 0, 1, height);
  for (let i = 1; i < h; i++) on.fillRect(0, Math.round(i * view[0]), width, 1);
}

// ---- drawing

/** Stroke the path in `color` over a dark rim, to be seen on any picture. */
export function rimmed(ctx, color, width, dash = []) {
  ctx.setLineDash([]);
  ctx.strokeStyle = 'rgba(0,0,0,.5)';
  ctx.lineWidth = width + 2;
  ctx.stroke();
  ctx.setLineDash(dash);
  ctx.strokeStyle = color;
  ctx.lineWidth = width;
  ctx.stroke();
  ctx.setLineDash([]);
}

export function polygon(ctx, points) {
  ctx.beginPath();
  points.forEach(([x, y]) => ctx.lineTo(x, y));
  ctx.closePath();
}

/** Left and middle are round, right is square: colour is not the only sign. */
export function mark(ctx, [x, y], r, side, fill) {
  ctx.fillStyle = fill;
  if (side === 'right') return ctx.fillRect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8);
  ctx.beginPath();
  ctx.arc(x, y, r, 0, 7);
  ctx.fill();
}

/** The selected point; wider while the keyboard holds it. */
export function ring(ctx, [x, y], held = false) {
  ctx.beginPath();
  ctx.arc(x, y, held ? 11 : 9, 0, 7);
  rimmed(ctx, '#fff', held ? 3.5 : 2);
}

/** A decoded point. */
export function diamond(ctx, [x, y], color = DECODED, r = 6) {
  polygon(ctx, [[x, y - r], [x + r, y], [x, y + r], [x - r, y]]);
  rimmed(ctx, color, 2);
}

/** The probe: open in the middle, where the pixel is. */
export function cross(ctx, [x, y]) {
  ctx.beginPath();
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    ctx.moveTo(x + 4 * dx, y + 4 * dy);
    ctx.lineTo(x + 14 * dx, y + 14 * dy);
  }
  rimmed(ctx, '#fff', 2);
}

/** Text on a canvas is as much larger as the rest in presenter mode. */
export const textScale = ({ canvas }) => (canvas.closest?.('.pb-presenter') ? 1.6 : 1);

export function write(ctx, text, x, y, size) {
  ctx.font = `600 ${size}px system-ui, sans-serif`;
  ctx.textBaseline = 'middle';
  ctx.fillStyle = '#fff';
  ctx.fillText(text, x, y);
}

/** Text on a dark plate to the upper right of (x, y), inside a panel of this width. */
export function label(ctx, text, [x, y], width) {
  const k = textScale(ctx);
  ctx.font = `600 ${12 * k}px system-ui, sans-serif`;
  const w = ctx.measureText(text).width + 12;
  const left = Math.max(2, Math.min(x + 10, width - w - 2)), top = Math.max(2, y - 7 - 19 * k);
  ctx.fillStyle = 'rgba(15,18,28,.85)';
  ctx.fillRect(left, top, w, 19 * k);
  write(ctx, text, left + 6, top + 10 * k, 12 * k);
}

/** Limbs and keypoints; `points` in CSS pixels, the rest from `scene`. */
export function drawPose(ctx, points, { links, sides, visible }, alpha = 1) {
  ctx.lineCap = 'round';
  ctx.globalAlpha = alpha;
  for (const side of Object.keys(SIDE)) {
    ctx.beginPath();
    for (const [i, j] of links) {
      if (!visible[i] || !visible[j] || side !== (sides[i] === sides[j] ? sides[i] : 'middle')) continue;
      ctx.moveTo(...points[i]);
      ctx.lineTo(...points[j]);
    }
    rimmed(ctx, SIDE[side], 2);
  }
  points.forEach((p, i) => {
    if (!visible[i]) return;
    mark(ctx, p, 5, sides[i], 'rgba(0,0,0,.6)');
    mark(ctx, p, 3.7, sides[i], SIDE[sides[i]]);
    if (visible[i] === 1) mark(ctx, p, 2.2, sides[i], '#222');
  });
  ctx.globalAlpha = 1;
}

/** The picture; `m` maps image pixels to CSS pixels. A crop is nothing but such a matrix. */
export function drawPicture(on, { picture, scene }, m) {
  on.save();
  on.transform(m[0], m[3], m[1], m[4], m[2], m[5]);
  if (picture) on.drawImage(picture, -0.5, -0.5, ...scene.image_size);
  on.restore();
}

// ---- panels

/** A canvas that shows one space; `panel.view` maps the space to CSS pixels.
 *
 *  `size()` is [w, h] in the space's pixels, `margin()` what is shown around. `paint(on, panel)` draws the
 *  slow layer, again only when `key()` changes; `draw(ctx, panel)` draws on top, in every frame. */
export function createPanel(store, root, name, { size, margin = () => 0, key = () => '', paint, draw,
  title = () => size().join(' × ') }) {
  const canvas = [...root.querySelectorAll('[data-panel]')].find((c) => c.dataset.panel === name);
  const ctx = canvas.getContext('2d');
  const [shape, caption] = canvas.parentElement.querySelectorAll('span, output');
  const panel = { name, canvas, caption, store, width: 0, size: [] };
  const layer = document.createElement('canvas');
  let drawnAs = null;

  panel.resize = () => {
    const [w, h] = panel.size = size(), m = margin();
    canvas.parentElement.style.setProperty('--aspect', (w + 2 * m) / (h + 2 * m));
    panel.width = canvas.clientWidth;
    if (!panel.width) return;
    const scale = panel.width / (w + 2 * m);
    panel.height = (h + 2 * m) * scale;
    panel.view = [scale, 0, (m + 0.5) * scale, 0, scale, (m + 0.5) * scale];
    panel.dpr = Math.min(2, window.devicePixelRatio || 1);
    canvas.width = layer.width = Math.round(panel.width * panel.dpr);
    canvas.height = layer.height = Math.round(panel.height * panel.dpr);
    drawnAs = null;
  };

  panel.draw = () => {
    put(shape, title());
    if (`${panel.size}` !== `${size()}` || canvas.clientWidth !== panel.width) panel.resize();
    if (!panel.width) return;
    const now = `${key()} ${!!store.picture}`, { dpr } = panel;
    if (now !== drawnAs) {
      const on = layer.getContext('2d');
      on.reset();
      on.scale(dpr, dpr);
      paint?.(on, panel);
      drawnAs = now;
    }
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.globalCompositeOperation = 'copy';
    ctx.drawImage(layer, 0, 0);
    ctx.globalCompositeOperation = 'source-over';
    ctx.setTransform(dpr, 0, 0, dpr, 0, 0);
    draw(ctx, panel);
  };

  /** The keyboard is here: what it holds is drawn larger. */
  panel.focused = () => document.activeElement === canvas;
  return panel;
}

/** Gestures on a panel; every point `p` is in its CSS pixels. `press(p, event)` returns what is taken, or
 *  nothing; `drag(taken, p, event)` moves it, `drop()` ends. `hover(p)` returns the cursor. A finger hovers
 *  where it taps, and what it points at stays. A gesture is one step of undo. */
export function listenToPointer({ canvas, store }, { press, drag, drop, hover, leave }, signal) {
  const on = (type, f) => canvas.addEventListener(type, f, { signal });
  const at = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };
  let taken = null;
  on('pointerdown', (event) => {
    if (event.button || !canvas.clientWidth) return;
    canvas.focus({ preventScroll: true });
    if (event.pointerType === 'touch') hover?.(at(event));
    store?.history.hold(true);
    taken = press(at(event), event) ?? null;
    if (!taken) store?.history.hold(false);
    if (!taken) return;
    event.preventDefault();
    if (event.isTrusted) canvas.setPointerCapture(event.pointerId);
  });
  on('pointermove', (event) => {
    if (!canvas.clientWidth) return;
    if (taken) drag(taken, at(event), event);
    else canvas.style.cursor = hover?.(at(event)) ?? 'crosshair';
  });
  for (const end of ['pointerup', 'pointercancel']) {
    on(end, () => {
      if (!taken) return;
      drop?.();
      taken = null;
      store?.history.hold(false);
    });
  }
  on('pointerleave', (event) => { if (!taken && event.pointerType !== 'touch') leave?.(); });
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Keys on a panel: `arrow(dx, dy)` by a pixel, with Shift by ten; `press(key, n, event)` gets the others
 *  and returns whether it took them; Escape leaves to the first control. JupyterLab sees none of them. */
export function listenToKeys(store, { canvas }, root, { arrow, press, blur }, say, signal) {
  const on = (type, f) => canvas.addEventListener(type, f, { signal });
  on('keydown', (event) => {
    const { key } = event, n = event.shiftKey ? 10 : 1;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (ARROWS[key]) arrow(...ARROWS[key].map((d) => d * n));
    else if (key === 'Escape') root.querySelector('[data-key]')?.focus();
    else if (!press?.(key, n, event)) return;
    event.preventDefault();
    event.stopPropagation();
    say();
  });
  on('focus', store.redraw);
  on('blur', () => { blur?.(); store.redraw(); });
}
