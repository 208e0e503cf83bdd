import {
  COLOR, NEAR, apply, bytesOf, check, createControls, createPanel, createWidget, cross, diamond,
  drawHeatmap, drawPicture, drawPose, facts, factsOf, fixed, html, invert, label, listenToKeys, listenToPointer,
  mark, mul, paintHeatmap, panelHtml, polygon, put, range, rectangle, RESET, rimmed, ring, select, write,
} from './canvas.js';

// SpacesExplorer: what is its own. The three maps are computed here, so that panels, crop and matrix follow
// the pointer in every frame; heatmap and decode(encode(x)) come from the kernel.

const SPACES = ['image', 'input', 'output'];
const BOX = '#9CC8F5';
const SMALLEST_BOX = 8;

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

function derive(store, fresh) {
  store.maps = spacesOf(store.state);
  if (fresh) store.handle = ['point', store.state.selected];
}

function received(store, result, sent) {
  store.heatmap = paintHeatmap(bytesOf(result.heatmap), result.shape, store.heatmap);
  const { stats, scene } = store, ours = spacesOf(sent).from.input;
  const [p, q] = [apply(result.matrix, scene.image_size), apply(ours, scene.image_size)];
  stats.agreement = Math.max(stats.agreement ?? 0, Math.hypot(p[0] - q[0], p[1] - q[1]));
}

// ---- drawing

const marginOf = ({ scene }) => 0.08 * Math.max(...scene.image_size);

/** The turning handle: beyond the crop's top edge, but never outside the panel. */
function knobOf({ maps, state }, { view, width, height }) {
  const up = [Math.sin(turnOf(state)), -Math.cos(turnOf(state))];
  const c = apply(view, maps.center), size = [width, height];
  let reach = maps.scale[1] / 2 * view[0] + 24;
  for (const i of [0, 1]) {
    if (Math.abs(up[i]) > 1e-6) reach = Math.min(reach, ((up[i] > 0 ? size[i] - 16 : 16) - c[i]) / up[i]);
  }
  reach = Math.max(reach, 24);
  return [c[0] + reach * up[0], c[1] + reach * up[1]];
}

/** What is held by the keyboard is drawn larger. */
const isHeld = (store, panel, kind, i) => panel.focused() && store.handle[0] === kind && store.handle[1] === i;

function drawHandles(ctx, store, panel, box, toView) {
  box.forEach(([x, y], i) => {
    const r = isHeld(store, panel, 'corner', i) ? 7 : 4.5;
    ctx.beginPath();
    ctx.rect(x - r, y - r, 2 * r, 2 * r);
    rimmed(ctx, '#fff', 3);
    ctx.fillStyle = COLOR.image;
    ctx.fill();
  });
  const knob = panel.knob(), r = isHeld(store, panel, 'turn', 0) ? 13 : 10;
  ctx.beginPath();
  ctx.moveTo(...apply(toView, store.maps.center));
  ctx.lineTo(...knob);
  rimmed(ctx, COLOR.input, 1.5, [2, 4]);
  mark(ctx, knob, r + 1.5, '', '#fff');
  mark(ctx, knob, r, '', COLOR.input);
  write(ctx, '↻', knob[0] - 6.5, knob[1] + 1, 15);
}

/** The crop's outline; what it leaves out is dimmed. */
function drawCrop(ctx, { scene, state, maps }, { width, height }, toView) {
  const [w, h] = state.input_size.map((v) => v - (state.use_udp ? 1 : 0)), toCrop = mul(toView, maps.back.input);
  const crop = rectangle(0, 0, w, h).map((p) => apply(toCrop, p)), [right, bottom] = scene.image_size;
  ctx.save();
  polygon(ctx, rectangle(-0.5, -0.5, right - 0.5, bottom - 0.5).map((p) => apply(toView, p)));
  ctx.clip();
  polygon(ctx, crop);
  ctx.rect(0, 0, width, height);
  ctx.fillStyle = 'rgba(10,12,24,.45)';
  ctx.fill('evenodd');
  ctx.restore();
  polygon(ctx, crop);
  rimmed(ctx, COLOR.input, 2.5);
}

function drawBoxes(ctx, store, panel, toView) {
  const box = rectangle(...store.state.bbox).map((p) => apply(toView, p));
  if (panel.name === 'image') drawCrop(ctx, store, panel, toView);
  polygon(ctx, box);
  rimmed(ctx, BOX, isHeld(store, panel, 'box', 0) ? 4 : 1.5, [6, 4]);
  if (panel.name === 'image') drawHandles(ctx, store, panel, box, toView);
}

function drawProbe(ctx, { probe, maps, heatmap, answer }, { name, width }, toView) {
  if (!probe) return;
  const at = apply(maps.from[name], probe.point), place = apply(toView, probe.point);
  cross(ctx, place);
  let text = fixed(at, 1);
  if (name === 'output' && heatmap) {
    const value = heatmap.values[Math.round(at[1]) * heatmap.width + Math.round(at[0])] ?? 0;
    text += `: ${(value / 255 * answer.peak).toFixed(2)}`;
  }
  label(ctx, text, place, width);
}

function drawSpace(ctx, store, panel) {
  const { state, scene, maps } = store, { name, view, width } = panel, i = state.selected;
  const toView = mul(view, maps.from[name]), points = state.keypoints.map((p) => apply(toView, p));
  const at = apply(maps.from[name], state.keypoints[i]).map((v) => v.toFixed(2));
  panel.caption.textContent = scene.visible[i] ? `x ${at[0]}  y ${at[1]}` : 'no label';
  if (name !== 'output') drawBoxes(ctx, store, panel, toView);
  drawPose(ctx, points, scene, name === 'output' ? 0.45 : 1);
  const decoded = !store.stale && store.answer?.decoded;
  if (decoded && name !== 'image' && !state.show_all) diamond(ctx, apply(view, decoded[name]));
  if (scene.visible[i]) {
    ring(ctx, points[i], isHeld(store, panel, 'point', i));
    if (name === 'image' && !store.probe) label(ctx, scene.names[i], points[i], width);
  }
  drawProbe(ctx, store, panel, toView);
}

function createSpace(store, root, space) {
  const panel = createPanel(store, root, space, {
    size: () => ({ image: store.scene.image_size, input: store.state.input_size,
      output: store.state.heatmap_size }[space]),
    margin: () => (space === 'image' ? marginOf(store) : 0),
    key: () => [...store.maps.from[space], space === 'output' && store.answer?.id],
    paint(on, { view, width, height }) {
      if (space !== 'image') on.fillRect(0, 0, width + 1, height + 1); // outside the picture it is black
      drawPicture(on, store, mul(view, store.maps.from[space]));
      if (space === 'output') drawHeatmap(on, panel, store.heatmap);
    },
    draw: (ctx) => drawSpace(ctx, store, panel),
  });
  panel.knob = () => knobOf(store, panel);
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
  // what is dragged stays on the panel, or comes back to it
  const within = (v, n) => Math.max(-margin, Math.min(store.scene.image_size[n] - 1 + margin, v));
  const bbox = [...from.bbox];
  if (kind === 'box') {
    [dx, dy].forEach((d, n) => {
      const center = (bbox[n] + bbox[n + 2]) / 2, by = Math.max(0, Math.min(store.scene.image_size[n] - 1, center + d)) - center;
      bbox[n] += by;
      bbox[n + 2] += by;
    });
  } else {
    const [x, y] = [i % 3 ? 2 : 0, i > 1 ? 3 : 1];
    bbox[x] = within(bbox[x] + dx, 0);
    bbox[y] = within(bbox[y] + dy, 1);
    if (Math.min(bbox[2] - bbox[0], bbox[3] - bbox[1]) < SMALLEST_BOX) return;
  }
  store.change({ bbox });
}

const turnTo = (store, angle) =>
  store.change({ rotation: Math.round((((angle + 180) % 360 + 360) % 360 - 180) * 10) / 10 });

function handleAt(store, panel, [x, y]) {
  const toView = mul(panel.view, store.maps.from[panel.name]);
  const gap = (p) => Math.hypot(p[0] - x, p[1] - y);
  const gaps = store.state.keypoints.map((p, n) => (store.scene.visible[n] ? gap(apply(toView, p)) : Infinity));
  const least = Math.min(...gaps);
  if (least < NEAR) return ['point', gaps.indexOf(least)];
  if (panel.name !== 'image') return null;
  if (gap(panel.knob()) < NEAR + 3) return ['turn', 0];
  const i = rectangle(...store.state.bbox).findIndex((p) => gap(apply(toView, p)) < NEAR);
  if (i >= 0) return ['corner', i];
  const [px, py] = apply(invert(toView), [x, y]), [x1, y1, x2, y2] = store.state.bbox;
  return px > x1 && px < x2 && py > y1 && py < y2 ? ['box', 0] : null;
}

const CURSOR = { point0: 'grab', turn0: 'grab', box0: 'move', corner0: 'nwse-resize', corner1: 'nesw-resize' };

function pointerOf(store, panel, say) {
  const toImage = (p, back = store.maps.back[panel.name]) => apply(back, apply(invert(panel.view), p));
  return {
    press(p) {
      const handle = handleAt(store, panel, p), back = store.maps.back[panel.name];
      if (!handle) return null;
      take(store, handle);
      store.probe = null;
      // `back` stays as it was, or what is dragged would move the very map that reads the pointer
      return { back, start: toImage(p), from: { ...store.state } };
    },
    drag({ back, start, from }, p, event) {
      const now = toImage(p, back), { center } = store.maps;
      if (store.handle[0] !== 'turn') return move(store, from, now[0] - start[0], now[1] - start[1]);
      const angle = Math.atan2(now[0] - center[0], center[1] - now[1]) * 180 / Math.PI;
      turnTo(store, clockwise(store.state) * (event.shiftKey ? Math.round(angle / 15) * 15 : angle));
    },
    drop: say,
    hover(p) {
      const [kind, i] = handleAt(store, panel, p) ?? [];
      store.probe = { point: toImage(p) };
      store.redraw();
      return kind && CURSOR[kind + (kind === 'corner' ? i % 2 : 0)];
    },
    leave() { store.probe = null; store.redraw(); },
  };
}

function keysOf(store, { name }) {
  const nextHandle = (back) => {
    const all = handlesOf(store), now = all.findIndex((h) => h.join() === store.handle.join());
    const next = all[now + (back ? -1 : 1)];
    if (next) take(store, next);
    return next; // past the last one the Tab key leaves the panel
  };
  return {
    arrow(dx, dy) {
      const { from, back } = store.maps, { state } = store;
      if (name === 'image') {
        if (store.handle[0] !== 'turn') return move(store, state, dx, dy);
        return turnTo(store, state.rotation + (dx || dy));
      }
      const [x, y] = apply(from[name], store.probe?.point ?? state.keypoints[state.selected]);
      store.probe = { point: apply(back[name], [x + dx, y + dy]) };
      store.redraw();
    },
    press(key, n, event) {
      if (key === 'Tab') return name === 'image' && nextHandle(event.shiftKey);
      if (!'[]{}'.includes(key)) return false;
      turnTo(store, store.state.rotation + ('[{'.includes(key) ? -n : n));
      return true;
    },
    blur() { store.probe = null; },
  };
}

// ---- the page

const PROBE = 'Arrows move a probe in all three.';
const PAGE = html`<div class="pb-panels">
  ${panelHtml('image', 'image space', 'Arrows move what is held by a pixel, with Shift by ten. '
    + 'Tab: next handle. Brackets: turn. Escape: leave.')}
  ${panelHtml('input', 'input space', PROBE)}${panelHtml('output', 'output space', PROBE)}</div>
<div class="pb-controls">${select('selected', 'keypoint')}
  ${select('input_size', 'input_size (w, h)')}${select('heatmap_size', 'heatmap_size (w, h)')}
  ${range('padding', 1, 2, 0.05)}${range('rotation', -180, 180, 1)}${range('sigma', 0.5, 6, 0.25)}
  <div class="pb-checks">${check('show_all', 'all heatmaps', 'their maximum')}
    ${check('flip', 'flip', 'mirror the crop')}
    ${check('use_udp', 'UDP', 'sizes are w - 1, not w')}
    ${check('unbiased', 'DARK', 'unbiased encoding and decoding')}${RESET}</div></div>
<div class="pb-facts">
  <div class="pb-own">${facts('box → crop', ['center', 'bbox_center'], ['scale', 'bbox_scale'], ['stride', 'stride'])}
  <section><h4>image → input, 2×3</h4><div class="pb-matrix" data-fact="matrix">
    <span></span><span></span><span></span><span></span><span></span><span></span></div></section></div>
  ${facts(html`<i class="pb-mark"></i>what decode(encode(x)) loses`, ['error', 'this point'],
    ['mean', 'mean of all'], ['channel', 'channel'])}
  ${facts('image → output → image', ['trip', 'round trip'], ['kernel', 'kernel answers in'])}</div>`;

/** What can be chosen; the present sizes are always among it. */
function choicesOf({ scene, state: { input_size: [w, h], heatmap_size } }) {
  const list = (sizes, now) => [...new Map([...sizes, now].map((s) => [`${s}`, [s, s.join(' × ')]])).values()];
  return { selected: scene.names.map((name, i) => [i, name]),
    input_size: list([[96, 128], [192, 256], [256, 256], [288, 384]], [w, h]),
    heatmap_size: list([2, 4, 8, 16].filter((k) => w % k + h % k === 0).map((k) => [w / k, h / k]), heatmap_size) };
}

function changeBy(store, key, value) {
  const { input_size, heatmap_size } = store.state, part = { [key]: value };
  if (key === 'selected') return take(store, ['point', value]);
  if (key === 'input_size') { // keep the stride
    part.heatmap_size = value.map((v, i) => Math.round(v * heatmap_size[i] / input_size[i]));
  }
  store.change(part);
}

function showFacts({ state, scene, maps, answer, stats }, fact) {
  const m = maps.from.input, d = answer?.decoded;
  put(fact.center, fixed(maps.center));
  put(fact.scale, fixed(maps.scale));
  put(fact.stride, maps.stride.map((v) => +v.toFixed(3)).join(', '));
  [...fact.matrix.children].forEach((cell, i) => put(cell, m[i].toFixed(i % 3 < 2 ? 4 : 2)));
  if (!answer) return;
  put(fact.error, d ? `${d.error_input.toFixed(2)} px input, ${d.error_image.toFixed(2)} px image`
    : scene.visible[state.selected] ? 'outside the crop' : 'no label');
  put(fact.mean, answer.mean_error === null ? '–' : `${answer.mean_error.toFixed(2)} px input`);
  put(fact.channel, `${answer.channel}  ${scene.names[answer.channel]}`);
  put(fact.trip, `${answer.round_trip.toExponential(0)} px`);
  if (stats.answered) put(fact.kernel, `${stats.answers.at(-1).toFixed(0)} ms`);
}

function build(store, root, { say, signal }) {
  const panels = SPACES.map((space) => createSpace(store, root, space)), fact = factsOf(root);
  for (const panel of panels) {
    listenToPointer(panel, pointerOf(store, panel, say), signal);
    listenToKeys(store, panel, root, keysOf(store, panel), say, signal);
  }
  const followControls = createControls(store, root, (key, value) => changeBy(store, key, value), signal);
  const follow = () => {
    followControls(choicesOf(store));
    showFacts(store, fact);
  };
  const spoken = () => {
    const { maps, state, probe } = store, point = probe?.point ?? state.keypoints[state.selected];
    const at = SPACES.map((s) => `${s} ${fixed(apply(maps.from[s], point), 1)}`).join('; ');
    return `${probe ? 'probe' : handleName(store)}. ${at}. Rotation ${state.rotation}.`;
  };
  return { panels, follow, spoken };
}

export default createWidget({ name: 'pb-spaces', title: 'SpacesExplorer: image, input and output space',
  page: PAGE, derive, received, build });
