// State, answers, time and undo: one store for all views of a widget.
//
// The browser draws what follows the pointer; the kernel answers what the library's own code must. The
// browser writes `request`, Python writes `state` and `result`. One request is in flight; then the newest
// state goes out.

const PACE = [40, 120]; // ms between requests, the longer the more frames come late: drawing comes first
const LATE = 2000; // ms without an answer: say so
const STEP = 600; // ms: changes of the same settings that follow each other faster are one step of undo
const STEPS = 200; // how many can be undone

/** What was, and what was undone. `remember(state, keys)` before a change of `keys`; in a gesture, from
 *  `hold(true)` to `hold(false)`, all changes are one step. */
function createHistory() {
  const past = [], future = [];
  let at = 0, of = null, held = false;
  const history = {
    remember(state, keys) {
      const now = performance.now(), goes_on = held ? of !== null : keys === of && now - at < STEP;
      if (!goes_on) past.push(state);
      if (past.length > STEPS) past.shift();
      future.length = 0;
      [at, of] = [now, keys];
    },
    hold(on) { held = on; of = null; },
    /** The state one step back or forth, or nothing. */
    travel(state, back) {
      const [from, to] = back ? [past, future] : [future, past];
      if (!from.length) return null;
      to.push(state);
      of = null;
      return from.pop();
    },
    get counts() { return [past.length, future.length]; },
  };
  return history;
}

/** `derive(store, fresh)` follows every change of `store.state`, with `fresh` if all of it came anew;
 *  `received(store, result, sent)` gets each answer and the state it answers. */
export function createStore(model, { derive = () => {}, received = () => {} }) {
  const stats = { frames: [], answers: [], lags: [], answered: 0 }, history = createHistory();
  const store = { scene: model.get('scene'), stats, views: new Set(), error: '', late: false, gone: false, history,
    /** The state that Python last set: what reset goes back to. */
    get first() { return model.get('state'); },
    /** What Python owes is old: it is drawn grey, or not at all. */
    get stale() { return store.late || store.gone; },
    /** An answer is on its way, and will come soon. */
    get asking() { return !store.stale && (waitingSince !== null || (inFlight && !inFlight.done)); } };
  let inFlight = null, waitingSince = null, clock = 0, timer = 0, pace = PACE[0], id = 0, frame = 0;
  let changed = true; // false: the first question only confirms what is known, nobody waits for its answer
  let alone = ''; // a page without a kernel: the state that its numbers belong to

  const adopt = (state) => {
    store.state = { ...state };
    derive(store, true);
  };

  store.redraw = () => {
    frame ||= requestAnimationFrame((now) => {
      frame = 0;
      const gap = now - stats.frames.at(-1); // at rest nothing is drawn: a long gap says nothing
      if (gap < 200) pace = Math.max(PACE[0], Math.min(PACE[1], pace + (gap > 25 ? 15 : -0.15)));
      stats.frames.push(now);
      for (const list of Object.values(stats)) if (list.length > 5000) list.shift();
      for (const view of store.views) view.draw();
    });
  };

  const send = () => {
    const at = performance.now();
    inFlight = { id: ++id, at, since: waitingSince, state: { ...store.state } };
    waitingSince = null;
    clearTimeout(clock);
    if (changed) clock = setTimeout(onLate, LATE);
    model.set('request', { ...store.state, id });
    model.save_changes();
  };
  const sendWaiting = () => {
    clearTimeout(timer);
    if (waitingSince === null) return;
    const rest = inFlight ? inFlight.at + pace - performance.now() : 0;
    if (rest > 0) timer = setTimeout(send, rest);
    else send();
  };
  const ask = () => {
    if (alone) {
      store.late = JSON.stringify(store.state) !== alone;
      return;
    }
    if (!changed && inFlight && !inFlight.done) clock = setTimeout(onLate, LATE);
    changed = true;
    waitingSince ??= performance.now();
    if (!inFlight || inFlight.done || store.late) sendWaiting();
  };
  const onLate = () => { store.late = true; sendWaiting(); store.redraw(); };
  const onResult = () => {
    const result = model.get('result');
    if (!inFlight || result.id !== inFlight.id || result.version !== store.state.version) return;
    clearTimeout(clock);
    const now = performance.now();
    stats.answers.push(now - inFlight.at);
    stats.lags.push(now - inFlight.since);
    stats.answered += 1;
    inFlight.done = true;
    store.late = false;
    store.error = result.error || '';
    if (!store.error) {
      store.answer = result;
      received(store, result, inFlight.state);
    }
    sendWaiting();
    store.redraw();
  };

  /** Every change of the state goes through here. */
  store.change = (part) => {
    const keys = Object.keys(part).filter((k) => JSON.stringify(part[k]) !== JSON.stringify(store.state[k]));
    if (keys.length) history.remember({ ...store.state }, keys.join());
    Object.assign(store.state, part);
    derive(store, false);
    ask();
    store.redraw();
  };
  const show = (state) => {
    adopt(state);
    ask();
    store.redraw();
  };
  /** Go back to what Python last set; this too can be undone. */
  store.reset = () => {
    history.hold(false);
    history.remember({ ...store.state }, 'all');
    show(store.first);
  };
  const travel = (back) => () => {
    const found = history.travel({ ...store.state }, back);
    if (found) show({ ...found, version: store.state.version });
  };
  store.undo = travel(true);
  store.redo = travel(false);

  model.on('change:result', onResult);
  model.on('change:state', store.reset);
  model.on('comm_live_update', store.redraw); // Jupyter's own word that the kernel is gone
  createImageBitmap(new Blob([model.get('picture')], { type: store.scene.picture_type })).then((bitmap) => {
    store.picture = bitmap;
    store.redraw();
  });
  store.owed = () => waitingSince !== null || Boolean(inFlight && !inFlight.done); // for tests
  store.close = () => {
    clearTimeout(clock);
    clearTimeout(timer);
    cancelAnimationFrame(frame);
  };

  // a reloaded page finds what it last asked for; where no kernel runs, the first answer is all there is
  const sent = model.get('request'), isReloaded = sent?.version === store.first.version, result = model.get('result');
  adopt(isReloaded ? sent : store.first);
  if (result && !result.error && Object.keys(result).length && result.id === (isReloaded ? sent.id : undefined)) {
    store.answer = { ...result, id: -1 };
    received(store, result, store.state);
    changed = false;
    if (model.get('alone')) alone = JSON.stringify(store.state);
  }
  store.alone = !!alone;
  if (!alone) {
    waitingSince = performance.now();
    send();
  }
  return store;
}
