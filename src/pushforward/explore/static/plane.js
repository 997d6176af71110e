// A flow of two features: a point in data and after some transforms, both dragged; the grid bent by each transform.

import { $, bar, colours, number, plain, redrawn, say, scaled, signed, still, together, whole } from "./page.js";

const FURTHEST = 1e15; // of a coordinate
const PAUSE = 700, IDLE = 400; // ms for a transform, when playing; ms without a drag before a density is asked for

export async function plane({ run, query, ask, keep, leaving }) {
  const path = `runs/${run.name}`;
  const { stages } = await ask(`${path}/scene`);
  const last = stages.length - 1;
  const within = (k) => Math.max(0, Math.min(last, Math.round(k)));
  let target = whole(query, "stage", last, 0, last), shown = target, playing = false, frame = 0, touched = -IDLE, found = null;
  const coordinate = (name, k) => number(query, name, stages[0].points[0][k], -FURTHEST, FURTHEST);
  const held = { stage: whole(query, "at", 0, 0, last), x: coordinate("x", 0), y: coordinate("y", 1) };
  const densities = new Map(), failed = (error) => say(error.message);
  const canvases = { data: () => 0, stage: () => shown };

  // Whether a density is here, or will be: it may be stopped.
  async function fetchDensity(stage, channel = "density") {
    if (densities.has(stage)) return true;
    densities.set(stage, null);
    try {
      const answer = await ask(`${path}/density`, { stage }, channel);
      if (answer) densities.set(stage, picture(answer));
    } finally {
      if (!densities.get(stage)) densities.delete(stage);
    }
    draw();
    return densities.has(stage);
  }

  async function locate() {
    const answer = await ask(`${path}/point`, held, "point");
    if (!answer) return;
    found = answer;
    tell();
    draw();
    keep({ stage: target, at: held.stage, x: held.x.toPrecision(9), y: held.y.toPrecision(9) });
  }

  function tell() {
    const sum = found.log_dets.reduce((a, b) => a + b, 0);
    $("logp").textContent = plain(found.log_p, 4);
    $("x").textContent = pair(found.path[0]);
    $("z").textContent = pair(found.path[last]);
    $("base").textContent = plain(found.base, 4);
    $("sum").textContent = signed(sum, 4);
    $("trip").textContent = found.round_trip.toExponential(1);
    terms();
    $("data").setAttribute("aria-label", `data, the point is at ${pair(found.path[0])}`);
    $("stage").setAttribute("aria-label", `after ${target} transforms, the point is at ${pair(found.path[target])}`);
    say(`log p is ${plain(found.log_p)} nats at ${pair(found.path[0], 2)}`);
  }

  function terms() {
    const most = Math.max(0.5, ...found.log_dets.map(Math.abs).filter(isFinite));
    $("terms").replaceChildren(...found.log_dets.map((value, k) => {
      const share = Math.max(-0.5, Math.min(0.5, 0.5 * value / most));
      const item = bar(`${k + 1} ${stages[k + 1].name}`, 0.5, 0.5 + share, signed(value));
      item.className = k < target ? "" : "ahead";
      return item;
    }));
  }

  function choose(stage) {
    target = within(stage);
    $("slider").value = target;
    $("count").textContent = target;
    $("slider").setAttribute("aria-valuetext", `${target} of ${last}: ${stages[target].name}`);
    const element = (name, text) => Object.assign(document.createElement(name), { textContent: text });
    const ends = { [0]: ["data ", element("i", "x")], [last]: ["latent ", element("i", "z")] };
    $("after").replaceChildren(...(ends[target] ?? ["after ", element("b", target), ` of ${last}: ${stages[target].name}`]));
    together(fetchDensity(target), ...(found ? [locate()] : [])).catch(failed);
    if (still()) shown = target;
    move();
  }

  // Move the picture towards its target; between two stages points and lines are on straight lines.
  let before = 0; // the time of a frame may be before that of the call that asked for it
  function move(now = performance.now()) {
    cancelAnimationFrame(frame);
    const step = Math.max(0, Math.min(50, now - before)) / PAUSE;
    before = now;
    if (shown !== target) {
      shown = Math.abs(target - shown) <= step ? target : shown + Math.sign(target - shown) * step * Math.max(1, Math.abs(target - shown));
      frame = requestAnimationFrame(move);
    } else if (playing && target < last) {
      choose(target + 1);
      return;
    } else if (playing) {
      play(false);
    }
    draw();
  }

  function play(on) {
    playing = on;
    $("play").textContent = on ? "Stop" : "Play";
    if (on && target === last) { shown = 0; target = 0; }
    if (on && still()) { playing = false; $("play").textContent = "Play"; }
    if (on) choose(target + 1);
  }

  function draw() {
    for (const [id, at] of Object.entries(canvases)) if ($(id)) paint($(id), at());
  }

  function paint(canvas, at) {
    const size = canvas.clientWidth, context = scaled(canvas, size, size), colour = colours();
    const low = Math.floor(at), high = Math.ceil(at), t = at - low;
    const [cx, cy, half] = stages[low].square.map((a, i) => mix(a, stages[high].square[i], t));
    const place = ([x, y]) => [(x - cx + half) / (2 * half) * size, (cy + half - y) / (2 * half) * size];
    const between = (a, b) => (t ? [mix(a[0], b[0], t), mix(a[1], b[1], t)] : a);
    if ($("density").checked) {
      for (const [stage, share] of [[low, 1 - t], [high, t]]) {
        const image = densities.get(stage);
        if (image && share > 0) { context.globalAlpha = share; context.drawImage(image(colour.accent), 0, 0, size, size); }
      }
      context.globalAlpha = 1;
    }
    if ($("grid").checked) {
      context.strokeStyle = colour.warm;
      context.lineWidth = 0.8;
      context.globalAlpha = 0.75;
      context.beginPath();
      stages[low].lines.forEach((line, i) => line.forEach((point, j) => {
        const [u, v] = place(between(point, stages[high].lines[i][j]));
        if (j) context.lineTo(u, v); else context.moveTo(u, v);
      }));
      context.stroke();
      context.globalAlpha = 1;
    }
    if ($("points").checked) {
      context.fillStyle = colour.ink;
      context.globalAlpha = 0.55;
      stages[low].points.forEach((point, i) => {
        const [u, v] = place(between(point, stages[high].points[i]));
        context.fillRect(u - 1, v - 1, 2, 2);
      });
      context.globalAlpha = 1;
    }
    if (found) {
      const [u, v] = place(between(found.path[low], found.path[high]));
      context.beginPath();
      context.arc(u, v, 8, 0, 7);
      context.fillStyle = colour.ink;
      context.fill();
      context.lineWidth = 3;
      context.strokeStyle = colour.panel;
      context.stroke();
    }
  }

  function hold(id, x, y) {
    touched = performance.now();
    Object.assign(held, { stage: within(canvases[id]()), x, y });
    if (found) found.path[held.stage] = [x, y]; // at once; the other picture follows
    draw();
    locate().catch(failed);
  }

  for (const id of Object.keys(canvases)) {
    const canvas = $(id);
    const at = (event) => {
      const box = canvas.getBoundingClientRect(), [cx, cy, half] = stages[within(canvases[id]())].square;
      const share = (value, start, length) => Math.max(0, Math.min(1, (value - start) / length));
      return [cx - half + 2 * half * share(event.clientX, box.left, box.width), cy + half - 2 * half * share(event.clientY, box.top, box.height)];
    };
    canvas.addEventListener("pointerdown", (event) => { if (event.button) return; canvas.setPointerCapture(event.pointerId); hold(id, ...at(event)); });
    canvas.addEventListener("pointermove", (event) => { if (canvas.hasPointerCapture(event.pointerId)) hold(id, ...at(event)); });
    canvas.addEventListener("keydown", (event) => {
      const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
      const way = ways[event.key], stage = within(canvases[id]());
      if (!way || !found) return;
      event.preventDefault();
      const step = stages[stage].square[2] * (event.shiftKey ? 0.1 : 0.02), [x, y] = found.path[stage];
      hold(id, x + step * way[0], y + step * way[1]);
    });
  }
  $("slider").max = last;
  $("slider").addEventListener("input", (event) => { playing = false; $("play").textContent = "Play"; choose(Number(event.target.value)); });
  $("play").addEventListener("click", () => play(!playing));
  for (const id of ["density", "grid", "points"]) $(id).addEventListener("change", draw);
  $("exact").hidden = run.continuous; // a solver's error is in it
  redrawn($("data"), draw, leaving);
  leaving.push(() => cancelAnimationFrame(frame));
  choose(target);
  await locate();
  if (!query.has("stage") && !still()) play(true);
  for (let k = 0; k <= last; k++) {
    while (performance.now() - touched < IDLE) await new Promise((done) => setTimeout(done, IDLE)); // the point goes first
    if (!await fetchDensity(k, "ahead")) return;
  }
}

const mix = (a, b, t) => a + (b - a) * t;
const pair = ([x, y], digits = 3) => `(${plain(x, digits)}, ${plain(y, digits)})`;

// A function from a colour to the density in it: more opaque where it is higher.
function picture({ side, root }) {
  const drawn = new Map();
  return (colour) => {
    if (drawn.has(colour)) return drawn.get(colour);
    const canvas = new OffscreenCanvas(side, side), context = canvas.getContext("2d"), image = context.createImageData(side, side);
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
    root.forEach((value, i) => {
      const row = side - 1 - Math.floor(i / side), column = i % side;
      image.data.set([r, g, b, 0.85 * value], 4 * (row * side + column));
    });
    context.putImageData(image, 0, 0);
    drawn.set(colour, canvas);
    return canvas;
  };
}
