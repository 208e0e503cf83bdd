// SpacesExplorer, the browser's half: panels, crop (a canvas transform of the picture) and matrix are drawn
// here; the kernel answers what the library's own code must, heatmap and decode(encode(x)). The browser
// writes `request`, Python `state` and `result`. One request is in flight; then the newest state goes out.
//
// A 2x3 matrix is flat, [a, b, c, d, e, f]: x' = a x + b y + c, y' = d x + e y + f. The centre of pixel 0
// is at 0, so a picture of width w covers -0.5 .. w - 0.5.

const SPACES = ['image', 'input', 'output'];
const COLOR = { image: '#4477AA', input: '#EE6677', output: '#228833' };
const SIDE = { middle: '#FFFFFF', left: '#66CCEE', right: '#EECC44' };
const [BOX, DECODED] = ['#9CC8F5', '#FF4FD8'];
const NEAR = 12; // how far from a handle a press still takes it, in CSS pixels
const SMALLEST_BOX = 8;
const PACE = 40; // ms between requests
const LATE = 2000; // ms without an answer: say so

// ---- geometry

/** First q, then p. */
const mul = (p, q) => [0, 3].flatMap((r) => [0, 1, 2].map((c) =>
  p[r] * q[c] + p[r + 1] * q[c + 3] + (c === 2 ? p[r + 2] : 0)));

const apply = (m, [x, y]) => [m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]];

const invert = (m) => {
  const det = m[0] * m[4] - m[1] * m[3];
  const [a, b, d, e] = [m[4] / det, -m[1] / det, -m[3] / det, m[0] / det];
  return [a, b, -a * m[2] - b * m[5], d, e, -d * m[2] - e * m[5]];
};

/** The crop turns clockwise; MMPose's UDP matrix turns the other way. */
const clockwise = (s) => (s.use_udp ? -1 : 1);
const turnOf = (s) => clockwise(s) * s.rotation * Math.PI / 180;

/** The maps between the three spaces, as posebook.structures.spaces.Spaces has them. */
function spacesOf(s) {
  const [x1, y1, x2, y2] = s.bbox, [w, h] = s.input_size, [ow, oh] = s.heatmap_size;
  const center = [(x1 + x2) / 2, (y1 + y2) / 2];
  const bw = (x2 - x1) * s.padding, bh = (y2 - y1) * s.padding;
  const scale = bw > bh * w / h ? [bw, bw * h / w] : [bh * w / h, bh];
  const cos = Math.cos(turnOf(s)), sin = Math.sin(turnOf(s));
  const turn = mul([cos, sin, 0, -sin, cos, 0], [1, 0, -center[0], 0, 1, -center[1]]);
  const zoom = s.use_udp
    ? [(w - 1) / scale[0], 0, (w - 1) / 2, 0, (h - 1) / scale[1], (h - 1) / 2]
    : [w / scale[0], 0, w / 2, 0, w / scale[0], h / 2];
  let input = mul(zoom, turn);
  if (s.flip) input = mul([-1, 0, w - 1, 0, 1, 0], input);
  const stride = s.use_udp ? [(w - 1) / (ow - 1), (h - 1) / (oh - 1)] : [w / ow, h / oh];
  const output = mul([1 / stride[0], 0, 0, 0, 1 / stride[1], 0], input);
  const image = [1, 0, 0, 0, 1, 0];
  const back = { image, input: invert(input), output: invert(output) };
  return { center, scale, stride, from: { image, input, output }, back };
}

// ---- one store for all views of a widget

function createStore(model) {
  const stats = { frames: [], answers: [], lags: [], answered: 0, agreement: 0 };
  const store = { scene: model.get('scene'), stats, views: new Set() };
  let inFlight = null, waitingSince = null, clock = 0, pace = 0, id = 0, frame = 0;

  const adopt = (state) => {
    store.state = { ...state };
    store.maps = spacesOf(store.state);
    store.handle = ['point', state.selected];
  };
  const sent = model.get('request'), first = model.get('state');
  adopt(sent.version === first.version ? sent : first); // a reloaded page finds what it last asked for

  store.redraw = () => {
    frame ||= requestAnimationFrame((now) => {
      frame = 0;
      stats.frames.push(now);
      for (const list of Object.values(stats)) if (list.length > 5000) list.shift();
      for (const view of store.views) view.draw();
    });
  };

  const send = () => {
    const at = performance.now();
    inFlight = { id: ++id, at, since: waitingSince, maps: store.maps };
    waitingSince = null;
    clearTimeout(clock);
    clock = setTimeout(onLate, LATE);
    model.set('request', { ...store.state, id });
    model.save_changes();
  };
  const sendWaiting = () => {
    clearTimeout(pace);
    if (waitingSince === null) return;
    const rest = inFlight ? inFlight.at + PACE - performance.now() : 0;
    if (rest > 0) pace = setTimeout(send, rest);
    else send();
  };
  const ask = () => {
    waitingSince ??= performance.now();
    if (!inFlight || inFlight.done || store.late) sendWaiting();
  };
  const onLate = () => { store.late = true; sendWaiting(); store.redraw(); };
  const onResult = () => {
    const result = model.get('result');
    if (!inFlight || result.id !== inFlight.id || result.version !== store.state.version) return;
    clearTimeout(clock);
    const now = performance.now(), { maps } = inFlight, far = store.scene.image_size;
    stats.answers.push(now - inFlight.at);
    stats.lags.push(now - inFlight.since);
    stats.answered += 1;
    inFlight.done = true;
    store.late = false;
    store.error = result.error || '';
    if (!store.error) {
      store.answer = result;
      store.heatmap = paintHeatmap(result, store.heatmap);
      const [p, q] = [apply(result.matrix, far), apply(maps.from.input, far)];
      stats.agreement = Math.max(stats.agreement, Math.hypot(p[0] - q[0], p[1] - q[1]));
    }
    sendWaiting();
    store.redraw();
  };

  /** Every change of the state goes through here. */
  store.change = (part) => {
    Object.assign(store.state, part);
    store.maps = spacesOf(store.state);
    ask();
    store.redraw();
  };
  store.reset = () => { adopt(model.get('state')); store.change({}); };
  model.on('change:result', onResult);
  model.on('change:state', store.reset);
  createImageBitmap(new Blob([model.get('picture')], { type: store.scene.picture_type })).then((bitmap) => {
    store.picture = bitmap;
    store.redraw();
  });
  store.close = () => {
    clearTimeout(clock);
    clearTimeout(pace);
    cancelAnimationFrame(frame);
  };
  ask();
  return store;
}

// Inferno; the crop shines through where the heatmap is low.
const INFERNO = [[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]];
const LUT = new Uint32Array(Uint8ClampedArray.from({ length: 1024 }, (_, n) => {
  const at = Math.min((n >> 2) / 51, 4.999), i = Math.floor(at), c = n % 4;
  if (c === 3) return 2.5 * (n >> 2);
  return INFERNO[i][c] + (at - i) * (INFERNO[i + 1][c] - INFERNO[i][c]);
}).buffer);

/** The kernel's uint8 heatmap as a small canvas, one pixel a cell. */
function paintHeatmap({ shape: [h, w], heatmap: { buffer, byteOffset } }, canvas) {
  canvas ??= document.createElement('canvas');
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  canvas.values = new Uint8Array(buffer, byteOffset, h * w);
  const pixels = new ImageData(w, h), words = new Uint32Array(pixels.data.buffer);
  canvas.values.forEach((v, i) => { words[i] = LUT[v]; });
  canvas.getContext('2d').putImageData(pixels, 0, 0);
  return canvas;
}

// ---- drawing

/** Stroke the path in `color` over a dark rim, to be seen on any picture. */
function rimmed(ctx, color, width, dash = []) {
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

function polygon(ctx, points) {
  ctx.beginPath();
  points.forEach(([x, y]) => ctx.lineTo(x, y));
  ctx.closePath();
}

/** Left and middle are round, right is square: colour is not the only sign. */
function mark(ctx, [x, y], r, side, fill) {
  ctx.fillStyle = fill;
  if (side === 'right') return ctx.fillRect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8);
  ctx.beginPath();
  ctx.arc(x, y, r, 0, 7);
  ctx.fill();
}

function write(ctx, text, x, y, size) {
  ctx.font = `600 ${size}px system-ui, sans-serif`;
  ctx.textBaseline = 'middle';
  ctx.fillStyle = '#fff';
  ctx.fillText(text, x, y);
}

function label(ctx, text, x, y, width) {
  ctx.font = '600 12px system-ui, sans-serif';
  const w = ctx.measureText(text).width + 12;
  const left = Math.max(2, Math.min(x, width - w - 2)), top = Math.max(2, y - 20);
  ctx.fillStyle = 'rgba(15,18,28,.85)';
  ctx.fillRect(left, top, w, 19);
  write(ctx, text, left + 6, top + 10, 12);
}

const rectangle = (x1, y1, x2, y2) => [[x1, y1], [x2, y1], [x2, y2], [x1, y2]];
const fixed = (p, n = 2) => `${p[0].toFixed(n)}, ${p[1].toFixed(n)}`;
const marginOf = ({ scene }) => 0.08 * Math.max(...scene.image_size);

/** One panel: a canvas that shows one space. `view` maps the space to CSS pixels. */
function createPanel(store, space, root) {
  const canvas = root.querySelector(`[data-panel=${space}]`), ctx = canvas.getContext('2d');
  const [title, caption] = canvas.parentElement.querySelectorAll('span, output');
  const panel = { space, canvas, width: 0 };
  const layer = document.createElement('canvas'); // picture and heatmap: redrawn only when they change
  let drawnAs = '';

  const sizeOf = () => ({ image: store.scene.image_size, input: store.state.input_size,
    output: store.state.heatmap_size }[space]);

  panel.resize = () => {
    const [w, h] = sizeOf(), margin = space === 'image' ? marginOf(store) : 0;
    panel.shape = `${w} × ${h}`;
    title.textContent = panel.shape;
    canvas.parentElement.style.setProperty('--aspect', (w + 2 * margin) / (h + 2 * margin));
    panel.width = canvas.clientWidth;
    if (!panel.width) return;
    const scale = panel.width / (w + 2 * margin);
    panel.height = (h + 2 * margin) * scale;
    panel.view = [scale, 0, (margin + 0.5) * scale, 0, scale, (margin + 0.5) * scale];
    panel.dpr = Math.min(2, window.devicePixelRatio || 1);
    canvas.width = layer.width = Math.round(panel.width * panel.dpr);
    canvas.height = layer.height = Math.round(panel.height * panel.dpr);
    drawnAs = '';
  };

  /** The picture in this space. The crop is nothing but a canvas transform; outside it is black. */
  const drawPicture = () => {
    const on = layer.getContext('2d'), k = panel.dpr, m = mul(panel.view, store.maps.from[space]);
    const drawing = [m, space === 'output' && store.answer?.id].join();
    if (drawing !== drawnAs) {
      on.reset();
      if (space !== 'image') on.fillRect(0, 0, layer.width, layer.height);
      on.setTransform(k * m[0], k * m[3], k * m[1], k * m[4], k * m[2], k * m[5]);
      if (store.picture) on.drawImage(store.picture, -0.5, -0.5, ...store.scene.image_size);
      on.setTransform(k, 0, 0, k, 0, 0);
      if (space === 'output') drawHeatmap(on);
      drawnAs = store.picture ? drawing : '';
    }
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.globalCompositeOperation = 'copy';
    ctx.drawImage(layer, 0, 0);
    ctx.globalCompositeOperation = 'source-over';
    ctx.setTransform(k, 0, 0, k, 0, 0);
  };

  const drawHeatmap = (on) => {
    const [w, h] = store.state.heatmap_size, { width, height } = panel, size = panel.view[0];
    on.fillStyle = 'rgba(8,8,24,.6)';
    on.fillRect(0, 0, width, height);
    on.imageSmoothingEnabled = false;
    if (store.heatmap) on.drawImage(store.heatmap, 0, 0, width, height);
    if (size < 3.5) return;
    on.fillStyle = 'rgba(255,255,255,.12)';
    for (let i = 1; i < w; i++) on.fillRect(Math.round(i * size), 0, 1, height);
    for (let i = 1; i < h; i++) on.fillRect(0, Math.round(i * size), width, 1);
  };

  const drawPose = (points) => {
    const { links, sides, visible } = store.scene;
    ctx.lineCap = 'round';
    ctx.globalAlpha = space === 'output' ? 0.45 : 1;
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
  };

  /** What is held by the keyboard is drawn larger. */
  const held = (kind, i) => document.activeElement === canvas && store.handle[0] === kind
    && store.handle[1] === i;

  const drawBoxes = (toView) => {
    const { state, maps } = store, [w, h] = state.input_size.map((v) => v - (state.use_udp ? 1 : 0));
    const box = rectangle(...state.bbox).map((p) => apply(toView, p));
    if (space === 'image') { // dim what the crop leaves out
      const toCrop = mul(toView, maps.back.input);
      const crop = rectangle(0, 0, w, h).map((p) => apply(toCrop, p));
      const [right, bottom] = store.scene.image_size;
      ctx.save();
      polygon(ctx, rectangle(-0.5, -0.5, right - 0.5, bottom - 0.5).map((p) => apply(toView, p)));
      ctx.clip();
      polygon(ctx, crop);
      ctx.rect(0, 0, panel.width, panel.height);
      ctx.fillStyle = 'rgba(10,12,24,.45)';
      ctx.fill('evenodd');
      ctx.restore();
      polygon(ctx, crop);
      rimmed(ctx, COLOR.input, 2.5);
    }
    polygon(ctx, box);
    rimmed(ctx, BOX, held('box', 0) ? 4 : 1.5, [6, 4]);
    if (space !== 'image') return;
    box.forEach(([x, y], i) => {
      const r = held('corner', i) ? 7 : 4.5;
      ctx.beginPath();
      ctx.rect(x - r, y - r, 2 * r, 2 * r);
      rimmed(ctx, '#fff', 3);
      ctx.fillStyle = COLOR.image;
      ctx.fill();
    });
    const knob = panel.knob(), r = held('turn', 0) ? 13 : 10;
    ctx.beginPath();
    ctx.moveTo(...apply(toView, maps.center));
    ctx.lineTo(...knob);
    rimmed(ctx, COLOR.input, 1.5, [2, 4]);
    mark(ctx, knob, r + 1.5, '', '#fff');
    mark(ctx, knob, r, '', COLOR.input);
    write(ctx, '↻', knob[0] - 6.5, knob[1] + 1, 15);
  };

  /** The turning handle: beyond the crop's top edge, but never outside the panel. */
  panel.knob = () => {
    const { maps, state } = store, up = [Math.sin(turnOf(state)), -Math.cos(turnOf(state))];
    const c = apply(panel.view, maps.center), size = [panel.width, panel.height];
    let reach = maps.scale[1] / 2 * panel.view[0] + 24;
    for (const i of [0, 1]) {
      if (Math.abs(up[i]) > 1e-6) reach = Math.min(reach, ((up[i] > 0 ? size[i] - 16 : 16) - c[i]) / up[i]);
    }
    reach = Math.max(reach, 24);
    return [c[0] + reach * up[0], c[1] + reach * up[1]];
  };

  const drawProbe = (toView) => {
    const { probe, maps, heatmap, answer } = store;
    if (!probe) return;
    const at = apply(maps.from[space], probe.point), [x, y] = apply(toView, probe.point);
    ctx.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      ctx.moveTo(x + 4 * dx, y + 4 * dy);
      ctx.lineTo(x + 14 * dx, y + 14 * dy);
    }
    rimmed(ctx, '#fff', 2);
    let text = fixed(at, 1);
    if (space === 'output' && heatmap) {
      const value = heatmap.values[Math.round(at[1]) * heatmap.width + Math.round(at[0])] ?? 0;
      text += `: ${(value / 255 * answer.peak).toFixed(2)}`;
    }
    label(ctx, text, x + 9, y - 6, panel.width);
  };

  panel.draw = () => {
    if (panel.shape !== sizeOf().join(' × ') || canvas.clientWidth !== panel.width) panel.resize();
    const { state, scene, maps } = store, i = state.selected, labelled = scene.visible[i];
    const at = apply(maps.from[space], state.keypoints[i]).map((v) => v.toFixed(2));
    caption.textContent = labelled ? `x ${at[0]}  y ${at[1]}` : 'no label';
    if (!panel.width) return;
    const toView = mul(panel.view, maps.from[space]);
    const points = state.keypoints.map((p) => apply(toView, p));
    drawPicture();
    if (space !== 'output') drawBoxes(toView);
    drawPose(points);
    const decoded = store.answer?.decoded;
    if (decoded && space !== 'image' && !state.show_all) {
      const [x, y] = apply(panel.view, decoded[space]);
      polygon(ctx, [[x, y - 6], [x + 6, y], [x, y + 6], [x - 6, y]]);
      rimmed(ctx, DECODED, 2);
    }
    if (labelled) {
      ctx.beginPath();
      ctx.arc(...points[i], held('point', i) ? 11 : 9, 0, 7);
      rimmed(ctx, '#fff', held('point', i) ? 3.5 : 2);
      if (space === 'image' && !store.probe) {
        label(ctx, scene.names[i], points[i][0] + 10, points[i][1] - 6, panel.width);
      }
    }
    drawProbe(toView);
  };
  return panel;
}

// ---- pointer and keyboard

/** What can be held, in the order of the Tab key. */
const handlesOf = ({ scene }) => [...scene.visible.flatMap((v, i) => (v ? [['point', i]] : [])),
  ['box', 0], ...[0, 1, 2, 3].map((i) => ['corner', i]), ['turn', 0]];

function handleName({ scene, handle: [kind, i] }) {
  const corner = ['top left', 'top right', 'bottom right', 'bottom left'][i];
  return { point: scene.names[i], corner: `${corner} corner`, box: 'box', turn: 'rotation handle' }[kind];
}

function take(store, handle) {
  store.handle = handle;
  if (handle[0] === 'point' && handle[1] !== store.state.selected) store.change({ selected: handle[1] });
  store.redraw();
}

/** Move what is held by (dx, dy) image pixels from where it was in the state `from`. */
function move(store, from, dx, dy) {
  const [kind, i] = store.handle, margin = marginOf(store);
  if (kind === 'point') {
    const keypoints = [...from.keypoints];
    keypoints[i] = [dx, dy].map((d, n) => Math.max(-margin,
      Math.min(store.scene.image_size[n] - 1 + margin, keypoints[i][n] + d)));
    return store.change({ keypoints });
  }
  const bbox = [...from.bbox];
  if (kind === 'box') [dx, dy, dx, dy].forEach((d, n) => { bbox[n] += d; });
  else {
    bbox[i % 3 ? 2 : 0] += dx;
    bbox[i > 1 ? 3 : 1] += dy;
    if (Math.min(bbox[2] - bbox[0], bbox[3] - bbox[1]) < SMALLEST_BOX) return;
  }
  store.change({ bbox });
}

const turnTo = (store, angle) =>
  store.change({ rotation: Math.round((((angle + 180) % 360 + 360) % 360 - 180) * 10) / 10 });

function handleAt(store, panel, [x, y]) {
  const toView = mul(panel.view, store.maps.from[panel.space]);
  const gap = (p) => Math.hypot(p[0] - x, p[1] - y);
  const gaps = store.state.keypoints.map((p, n) => (store.scene.visible[n] ? gap(apply(toView, p)) : Infinity));
  const least = Math.min(...gaps);
  if (least < NEAR) return ['point', gaps.indexOf(least)];
  if (panel.space !== 'image') return null;
  if (gap(panel.knob()) < NEAR + 3) return ['turn', 0];
  const i = rectangle(...store.state.bbox).findIndex((p) => gap(apply(toView, p)) < NEAR);
  if (i >= 0) return ['corner', i];
  const [px, py] = apply(invert(toView), [x, y]), [x1, y1, x2, y2] = store.state.bbox;
  return px > x1 && px < x2 && py > y1 && py < y2 ? ['box', 0] : null;
}

const CURSOR = { point0: 'grab', turn0: 'grab', box0: 'move', corner0: 'nwse-resize', corner1: 'nesw-resize' };

function listenToPointer(store, panel, say, signal) {
  const { canvas, space } = panel;
  const on = (type, f) => canvas.addEventListener(type, f, { signal });
  const at = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };
  const toImage = (p, back = store.maps.back[space]) => apply(back, apply(invert(panel.view), p));
  let drag = null;
  on('pointerdown', (event) => {
    if (event.button || !panel.width) return;
    canvas.focus({ preventScroll: true });
    const handle = handleAt(store, panel, at(event)), back = store.maps.back[space];
    if (!handle) return;
    event.preventDefault();
    if (event.isTrusted) canvas.setPointerCapture(event.pointerId);
    take(store, handle);
    // `back` stays as it was, or what is dragged would move the very map that reads the pointer
    drag = { back, start: toImage(at(event)), from: { ...store.state } };
    store.probe = null;
  });
  on('pointermove', (event) => {
    if (!panel.width) return;
    if (!drag) {
      const [kind, i] = handleAt(store, panel, at(event)) ?? [];
      canvas.style.cursor = kind ? CURSOR[kind + (kind === 'corner' ? i % 2 : 0)] : 'crosshair';
      store.probe = { point: toImage(at(event)) };
      return store.redraw();
    }
    const now = toImage(at(event), drag.back), { center } = store.maps;
    if (store.handle[0] !== 'turn') {
      return move(store, drag.from, now[0] - drag.start[0], now[1] - drag.start[1]);
    }
    const angle = Math.atan2(now[0] - center[0], center[1] - now[1]) * 180 / Math.PI;
    turnTo(store, clockwise(store.state) * (event.shiftKey ? Math.round(angle / 15) * 15 : angle));
  });
  for (const end of ['pointerup', 'pointercancel']) on(end, () => { if (drag) say(); drag = null; });
  on('pointerleave', () => { if (!drag) { store.probe = null; store.redraw(); } });
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function listenToKeys(store, { canvas, space }, root, say, signal) {
  const on = (type, f) => canvas.addEventListener(type, f, { signal });
  const nextHandle = (back) => {
    const all = handlesOf(store), now = all.findIndex((h) => h.join() === store.handle.join());
    const next = all[now + (back ? -1 : 1)];
    if (next) take(store, next);
    return next; // past the last one the Tab key leaves the panel
  };
  const arrow = (dx, dy) => {
    const { from, back } = store.maps, { state } = store;
    if (space === 'image') {
      if (store.handle[0] !== 'turn') return move(store, state, dx, dy);
      return turnTo(store, state.rotation + (dx || dy));
    }
    const [x, y] = apply(from[space], store.probe?.point ?? state.keypoints[state.selected]);
    store.probe = { point: apply(back[space], [x + dx, y + dy]) };
    store.redraw();
  };
  on('keydown', (event) => {
    const { key } = event, n = event.shiftKey ? 10 : 1;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (ARROWS[key]) arrow(...ARROWS[key].map((d) => d * n));
    else if ('[{'.includes(key)) turnTo(store, store.state.rotation - n);
    else if (']}'.includes(key)) turnTo(store, store.state.rotation + n);
    else if (key === 'Escape') root.querySelector('select').focus();
    else if (key !== 'Tab' || space !== 'image' || !nextHandle(event.shiftKey)) return;
    event.preventDefault();
    event.stopPropagation();
    say();
  });
  on('focus', store.redraw);
  on('blur', () => { store.probe = null; store.redraw(); });
}

// ---- the page

const panelHtml = (space, keys) => `<figure class="pb-panel pb-${space}">
  <figcaption><b>${space} space</b> <span></span><output></output></figcaption>
  <canvas data-panel="${space}" tabindex="0" role="application" aria-label="${space} space. ${keys}">
  </canvas></figure>`;
const range = (key, min, max, step) => `<label><span>${key} <output></output></span>
  <input type="range" data-key="${key}" min="${min}" max="${max}" step="${step}"></label>`;
const select = (key, text = key) => `<label><span>${text}</span><select data-key="${key}"></select></label>`;
const check = (key, text, title) =>
  `<label class="pb-check" title="${title}"><input type="checkbox" data-key="${key}">${text}</label>`;
const facts = (title, ...list) => `<section><h4>${title}</h4><dl>
  ${list.map(([key, text]) => `<dt>${text}</dt><dd data-fact="${key}"></dd>`).join('')}</dl></section>`;
const PROBE = 'Arrows move a probe in all three.';

const PAGE = `<div class="pb-panels">
  ${panelHtml('image', 'Arrows move what is held by a pixel, with Shift by ten. '
    + 'Tab: next handle. Brackets: turn. Escape: leave.')}
  ${panelHtml('input', PROBE)}${panelHtml('output', PROBE)}</div>
<div class="pb-controls">${select('selected', 'keypoint')}
  ${select('input_size', 'input_size (w, h)')}${select('heatmap_size', 'heatmap_size (w, h)')}
  ${range('padding', 1, 2, 0.05)}${range('rotation', -180, 180, 1)}${range('sigma', 0.5, 6, 0.25)}
  <div class="pb-checks">${check('show_all', 'all heatmaps', 'their maximum')}
    ${check('flip', 'flip', 'mirror the crop')}
    ${check('use_udp', 'UDP', 'sizes are w - 1, not w')}
    ${check('unbiased', 'DARK', 'unbiased encoding and decoding')}
    <button type="button">reset</button></div></div>
<div class="pb-facts">
  ${facts('box → crop', ['center', 'bbox_center'], ['scale', 'bbox_scale'], ['stride', 'stride'])}
  <section><h4>image → input, 2×3</h4><div class="pb-matrix" data-fact="matrix">
    ${'<span></span>'.repeat(6)}</div></section>
  ${facts('<i class="pb-mark"></i>what decode(encode(x)) loses', ['error', 'this point'],
    ['mean', 'mean of all'], ['channel', 'channel'])}
  ${facts('image → output → image', ['trip', 'round trip'], ['kernel', 'kernel answers in'])}</div>
<p class="pb-status" role="status"></p><p class="pb-live" aria-live="polite"></p>`;

const valueOf = (c) => (c.type === 'checkbox' ? c.checked : JSON.parse(c.value));

function listenToControls(store, root, signal) {
  for (const control of root.querySelectorAll('[data-key]')) {
    control.addEventListener('input', () => {
      const { key } = control.dataset, value = valueOf(control), { input_size, heatmap_size } = store.state;
      if (key === 'selected') return take(store, ['point', value]);
      const part = { [key]: value };
      if (key === 'input_size') { // keep the stride
        part.heatmap_size = value.map((v, i) => Math.round(v * heatmap_size[i] / input_size[i]));
      }
      store.change(part);
    }, { signal });
  }
  root.querySelector('button').addEventListener('click', store.reset, { signal });
}

const options = (list) => list.map(([value, text]) =>
  `<option value="${JSON.stringify(value)}">${text}</option>`).join('');

/** The sizes to choose from; the present ones are always among them. */
function sizeOptions({ input_size: [w, h], heatmap_size }) {
  const list = (sizes, now) => [...new Map([...sizes, now].map((s) => [`${s}`, [s, s.join(' × ')]])).values()];
  return { input_size: list([[96, 128], [192, 256], [256, 256], [288, 384]], [w, h]),
    heatmap_size: list([2, 4, 8, 16].filter((k) => w % k + h % k === 0).map((k) => [w / k, h / k]), heatmap_size) };
}

/** Controls and numbers follow the state. Text is only written where it changed. */
function createReadout(store, root) {
  const fact = {};
  for (const e of root.querySelectorAll('[data-fact]')) fact[e.dataset.fact] = e;
  const controls = [...root.querySelectorAll('[data-key]')], status = root.querySelector('.pb-status');
  const put = (e, text) => { if (e.textContent !== text) e.textContent = text; };
  let sizes = '';
  const followControls = () => {
    const { input_size, heatmap_size } = store.state, now = `${input_size},${heatmap_size}`;
    const lists = now === sizes ? {} : sizeOptions(store.state);
    sizes = now;
    for (const c of controls) {
      const { key } = c.dataset, value = store.state[key];
      if (lists[key]) c.innerHTML = options(lists[key]);
      if (c.type === 'checkbox') c.checked = value;
      else if (c.value !== JSON.stringify(value)) c.value = JSON.stringify(value);
      if (c.type === 'range') put(c.parentElement.querySelector('output'), `${+value.toFixed(2)}`);
    }
  };
  return () => {
    const { state, scene, maps, answer, stats } = store, m = maps.from.input, d = answer?.decoded;
    followControls();
    put(fact.center, fixed(maps.center));
    put(fact.scale, fixed(maps.scale));
    put(fact.stride, maps.stride.map((v) => +v.toFixed(3)).join(', '));
    [...fact.matrix.children].forEach((cell, i) => put(cell, m[i].toFixed(i % 3 < 2 ? 4 : 2)));
    if (answer) {
      put(fact.error, d ? `${d.error_input.toFixed(2)} px input, ${d.error_image.toFixed(2)} px image`
        : scene.visible[state.selected] ? 'outside the crop' : 'no label');
      put(fact.mean, answer.mean_error === null ? '–' : `${answer.mean_error.toFixed(2)} px input`);
      put(fact.channel, `${answer.channel}  ${scene.names[answer.channel]}`);
      put(fact.trip, `${answer.round_trip.toExponential(0)} px`);
      put(fact.kernel, `${stats.answers.at(-1)?.toFixed(0)} ms`);
    }
    put(status, store.error || (store.late
      ? 'The kernel is busy or gone: the heatmap waits.' : ''));
  };
}

function render(store, el) {
  const root = Object.assign(document.createElement('div'), { className: 'pb-spaces', innerHTML: PAGE });
  root.role = 'group';
  root.ariaLabel = 'SpacesExplorer: image, input and output space';
  // JupyterLab's shortcuts listen before we do; this keeps them out, element by element
  for (const e of [root, ...root.querySelectorAll('canvas, select, input, button')]) {
    e.setAttribute('data-lm-suppress-shortcuts', 'true');
  }
  el.append(root);
  const stop = new AbortController(), { signal } = stop;
  root.querySelector('select').innerHTML = options(store.scene.names.map((name, i) => [i, name]));

  let voice = 0;
  const say = () => {
    clearTimeout(voice);
    voice = setTimeout(() => {
      const { maps, state, probe } = store, point = probe?.point ?? state.keypoints[state.selected];
      const at = SPACES.map((s) => `${s} ${fixed(apply(maps.from[s], point), 1)}`).join('; ');
      root.lastChild.textContent = `${probe ? 'probe' : handleName(store)}. ${at}. Rotation ${state.rotation}.`;
    }, 300);
  };
  const panels = SPACES.map((space) => createPanel(store, space, root));
  for (const panel of panels) {
    listenToPointer(store, panel, say, signal);
    listenToKeys(store, panel, root, say, signal);
  }
  listenToControls(store, root, signal);
  const readout = createReadout(store, root);
  const view = {
    draw() { for (const p of panels) p.draw(); readout(); },
    resize() { for (const p of panels) p.resize(); view.draw(); },
  };
  store.views.add(view);
  // Detached at first (width 0), resized later, scrolled out and back in a virtualised notebook.
  const sizes = new ResizeObserver(view.resize);
  for (const p of panels) sizes.observe(p.canvas);
  el.__posebook = { store, panels, stats: store.stats, apply }; // for tests
  view.resize();
  return () => {
    stop.abort();
    sizes.disconnect();
    clearTimeout(voice);
    store.views.delete(view);
    root.remove();
  };
}

export default () => {
  let store;
  return {
    initialize({ model }) { store = createStore(model); return () => store.close(); },
    render({ el }) { return render(store, el); },
  };
};
