// A flow of vectors: a pair plot of data and samples, a slider for each condition, and a row, feature by feature.

import { $, colours, plain, redrawn, say, scaled, together, whole } from "./page.js";

const SHOWN = 5, ODD = 0.05; // columns in the pair plot at first; tails that are called odd

export async function vectors({ run, query, ask, keep, leaving }) {
  const path = `runs/${run.name}`, scene = await ask(`${path}/table`), count = scene.names.length;
  const numbers = (name) => (query.get(name) ?? "").split(",").filter(Boolean).map(Number).filter(isFinite);
  const within = (n) => Math.max(0, Math.min(scene.rows.length - 1, n || 0));
  const chosen = { row: whole(query, "row", 0, 0, scene.rows.length - 1), x: "", c: "", columns: "" };
  let x = numbers("x").length === count ? numbers("x") : [...scene.rows[chosen.row]];
  let context = numbers("c").length === scene.given.length ? numbers("c") : [...scene.contexts[chosen.row]];
  let columns = numbers("columns").filter((k) => k in scene.names), drawn = null, seen = null, seed = 0;
  if (!columns.length) columns = scene.names.map((_, k) => k).slice(0, SHOWN);
  const failed = (error) => say(error.message);

  function remember() {
    const moved = x.some((value, k) => value !== scene.rows[chosen.row][k]);
    keep(Object.assign(chosen, { x: moved ? x.join() : "", c: context.join(), columns: columns.join() }));
  }

  async function sample() {
    const answer = await ask(`${path}/drawn`, { c: context.join(), seed }, "drawn");
    if (!answer) return;
    drawn = answer;
    draw();
  }

  async function locate() {
    remember();
    draw();
    const answer = await ask(`${path}/row`, { x: x.join(), c: context.join() }, "row");
    if (!answer) return;
    seen = answer;
    curves();
    $("logp").textContent = plain(answer.log_p);
    $("above").textContent = `higher than for ${Math.round(100 * answer.above)} % of ${scene.rows.length} held-out rows`;
    answer.features.forEach((feature, k) => {
      const item = $("features").children[k], odd = feature.tail < ODD;
      item.querySelector(".tail").textContent = `${odd ? "odd: " : ""}tail ${(100 * feature.tail).toFixed(feature.tail < 0.1 ? 1 : 0)} %`;
      item.classList.toggle("odd", odd);
    });
    const odd = answer.features.filter((feature) => feature.tail < ODD).map((feature) => feature.name);
    say(`log p is ${plain(answer.log_p)} nats${odd.length ? `; odd: ${odd.join(", ")}` : ""}`);
  }

  function curves() {
    seen?.features.forEach((feature, k) => curve($("features").children[k].querySelector("canvas"), feature.density));
  }

  // Move every slider to the row, and say its values.
  function tell() {
    [...$("features").children].forEach((item, k) => set(item, x[k]));
    [...$("given").children].forEach((label, k) => set(label, context[k]));
    $("row").value = chosen.row;
    $("number").textContent = chosen.row + 1;
  }

  function pick(row) {
    const moved = scene.given.length > 0;
    chosen.row = within(row);
    x = [...scene.rows[chosen.row]];
    context = [...scene.contexts[chosen.row]];
    tell();
    together(locate(), ...(moved ? [sample()] : [])).catch(failed);
  }

  function slider(name, [low, high], changed) {
    const label = document.createElement("label"), input = document.createElement("input"), output = document.createElement("output");
    Object.assign(input, { type: "range", min: low, max: high, step: "any" });
    input.addEventListener("keydown", (event) => { // a step of "any" leaves keys without one
      const way = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
      if (!way) return;
      event.preventDefault();
      input.value = Number(input.value) + way * (high - low) / 100;
      input.dispatchEvent(new Event("input"));
    });
    output.ariaLive = "off"; // the slider says it
    input.addEventListener("input", () => { told(label, Number(input.value)); changed(Number(input.value)); });
    label.append(`${name} `, output, input);
    return label;
  }

  function build() {
    $("features").replaceChildren(...scene.names.map((name, k) => {
      const item = document.createElement("li"), canvas = document.createElement("canvas"), tail = document.createElement("span");
      tail.className = "tail quiet";
      const label = slider(name, scene.ranges[k], (value) => { x[k] = value; locate().catch(failed); });
      label.querySelector("output").after(tail, canvas);
      item.append(label);
      return item;
    }));
    $("given").replaceChildren(...scene.given.map((name, k) => slider(name, scene.given_ranges[k], (value) => {
      context[k] = value;
      together(locate(), sample()).catch(failed);
    })));
    $("conditions").hidden = !scene.given.length;
    $("columns").replaceChildren(...scene.names.map((name, k) => {
      const label = document.createElement("label"), box = document.createElement("input");
      Object.assign(box, { type: "checkbox", checked: columns.includes(k) });
      box.addEventListener("change", () => {
        columns = [...$("columns").querySelectorAll("input")].flatMap((one, i) => (one.checked ? [i] : []));
        remember();
        draw();
      });
      label.append(box, ` ${name}`);
      return label;
    }));
    $("row").max = scene.rows.length - 1;
  }

  const place = (value, k, size) => (value - scene.ranges[k][0]) / (scene.ranges[k][1] - scene.ranges[k][0]) * size;

  function draw() {
    const canvas = $("pairs"), size = canvas.clientWidth, colour = colours(), n = columns.length;
    const context = scaled(canvas, size, size), side = size / Math.max(1, n), inner = side - 8;
    context.font = "12px system-ui, sans-serif";
    columns.forEach((below, i) => columns.slice(0, i + 1).forEach((across, j) => {
      context.save();
      context.translate(j * side + 4, i * side + 4);
      context.fillStyle = colour.panel;
      context.fillRect(0, 0, inner, inner);
      context.strokeStyle = colour.rule;
      context.strokeRect(0, 0, inner, inner);
      context.beginPath();
      context.rect(0, 0, inner, inner);
      context.clip();
      if (i === j) histograms(context, below, inner, colour);
      else points(context, across, below, inner, colour);
      context.restore();
    }));
  }

  function histograms(context, k, inner, colour) {
    const sets = [[scene.histograms[k], colour.quiet], ...(drawn ? [[drawn.histograms[k], colour.accent]] : [])];
    const most = Math.max(...sets.flatMap(([shares]) => shares)), height = inner - 20;
    for (const [shares, stroke] of sets) {
      context.strokeStyle = stroke;
      context.lineWidth = 1.5;
      context.beginPath();
      shares.forEach((share, i) => {
        const y = inner - share / most * height;
        context.lineTo(i / shares.length * inner, y);
        context.lineTo((i + 1) / shares.length * inner, y);
      });
      context.stroke();
    }
    context.fillStyle = colour.ink;
    context.fillText(scene.names[k], 5, 14, inner - 10);
  }

  function points(context, across, below, inner, colour) {
    for (const [rows, fill] of [[scene.rows, colour.quiet], [drawn?.rows ?? [], colour.accent]]) {
      context.fillStyle = fill;
      context.globalAlpha = 0.55;
      for (const row of rows) context.fillRect(place(row[across], across, inner) - 1, inner - place(row[below], below, inner) - 1, 2, 2);
    }
    context.globalAlpha = 1;
    context.beginPath();
    context.arc(place(x[across], across, inner), inner - place(x[below], below, inner), 5, 0, 7);
    context.fillStyle = colour.warm;
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = colour.panel;
    context.stroke();
  }

  // The data row that is nearest to a click in the pair plot.
  function nearest(event) {
    const box = $("pairs").getBoundingClientRect(), side = box.width / columns.length, inner = side - 8;
    const [left, top] = [event.clientX - box.left, event.clientY - box.top], [j, i] = [left, top].map((at) => Math.floor(at / side));
    if (j >= i) return;
    const far = (row) => Math.hypot(place(row[columns[j]], columns[j], inner) - (left - j * side - 4), inner - place(row[columns[i]], columns[i], inner) - (top - i * side - 4));
    pick(scene.rows.reduce((best, row, k) => (far(row) < far(scene.rows[best]) ? k : best), 0));
  }

  build();
  tell();
  $("pairs").addEventListener("click", nearest);
  $("row").addEventListener("input", () => pick(Number($("row").value)));
  $("again").addEventListener("click", () => pick(chosen.row));
  $("more").addEventListener("click", () => { seed += 1; sample().catch(failed); });
  redrawn($("pairs"), () => { draw(); curves(); }, leaving);
  await locate();
  await sample();
}

// What a slider's label says of a value.
function told(label, value) {
  label.querySelector("output").textContent = label.querySelector("input").ariaValueText = short(value);
}

function set(label, value) {
  label.querySelector("input").value = value;
  told(label, value);
}

const short = (value) => plain(value, Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);

// A density over the range of a slider.
function curve(canvas, density) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight], context = scaled(canvas, width, height), colour = colours();
  context.beginPath();
  context.moveTo(0, height);
  density.forEach((share, i) => context.lineTo(i / (density.length - 1) * width, height - share * (height - 2)));
  context.lineTo(width, height);
  context.globalAlpha = 0.3;
  context.fillStyle = colour.accent;
  context.fill();
  context.globalAlpha = 1;
  context.strokeStyle = colour.accent;
  context.stroke();
}
