// A training as it goes: its curve in its unit, how far it is, and the samples that it drew last.

import { $, colours, plain, redrawn, say, scaled } from "./page.js";

const EVERY = 2000, LEFT = 56, BELOW = 24, NATS = "log p, nats"; // milliseconds between requests; pixels of the axes

export async function training({ run, ask, keep, leaving }) {
  let timer = 0, found = null, seen = "";
  keep({ view: "training" });

  async function look() {
    const answer = await ask(`runs/${run.name}/training`, { seen }, "training");
    if (!answer) return;
    found = answer;
    tell();
    draw();
  }

  async function watch() { // after an error, too: the server may be back; after the end, too: the run may be continued
    await look().catch((error) => say(error.message));
    timer = setTimeout(watch, EVERY);
  }

  function tell() {
    const last = found.held_out.at(-1), told = (score) => (found.unit === NATS ? `log p ${plain(score)} nats` : `${plain(score)} ${found.unit}`);
    $("score").textContent = told(found.curve.at(-1)[1]);
    const count = `step ${found.step.toLocaleString("en")} of ${found.steps.toLocaleString("en")}`;
    $("progress").textContent = found.ended ? `${count}, ended` : `${count}, ${time(found.left)} left`;
    $("share").value = found.step / found.steps;
    $("held").textContent = last ? `${told(last[1])}, at step ${last[0].toLocaleString("en")}` : "not evaluated";
    $("looks").style.visibility = last ? "visible" : "hidden"; // it keeps its place
    if (found.expected) $("expected").textContent = expectation(found.expected);
    $("expected").hidden = !found.expected;
    $("pace").textContent = time(found.pace);
    $("lr").textContent = found.lr.toPrecision(2);
    $("gradient").textContent = plain(found.gradient);
    $("curve").setAttribute("aria-label", `${found.unit} by step: ${plain(found.curve[0][1])} at first, ${$("score").textContent} at ${count}`);
    if (found.samples) $("samples").src = found.samples;
    $("drawn").hidden = !found.picture;
    seen = found.picture;
  }

  function draw() {
    if (!found) return;
    const { clientWidth: width, clientHeight: height } = $("curve"), context = scaled($("curve")), colour = colours();
    context.font = "12px system-ui, sans-serif";
    const settled = found.curve.slice(Math.floor(found.curve.length / 20)), shown = [...settled.flatMap(([, , low, high]) => [low, high]), ...found.held_out.map(([, score]) => score)].filter(isFinite);
    const low = Math.min(...shown), high = Math.max(...shown), span = high - low || 1, first = found.curve[0][0];
    const x = (step) => LEFT + (step - first) / (Math.max(found.step, first + 1) - first) * (width - LEFT - 6);
    const y = (score) => 6 + (high - score) / span * (height - BELOW - 12);

    context.fillStyle = colour.quiet;
    context.strokeStyle = colour.rule;
    context.textBaseline = "middle";
    for (const tick of ticks(low, high, 5)) {
      context.beginPath();
      context.moveTo(LEFT, y(tick));
      context.lineTo(width, y(tick));
      context.stroke();
      context.textAlign = "right";
      context.fillText(plain(tick, digits(span)), LEFT - 8, y(tick));
    }
    for (const tick of ticks(first, found.step, 5)) {
      context.textAlign = x(tick) > width - 40 ? "right" : "center";
      context.fillText(tick.toLocaleString("en"), x(tick), height - 8);
    }
    context.save();
    context.beginPath();
    context.rect(LEFT, 0, width - LEFT, height - BELOW);
    context.clip();
    context.globalAlpha = 0.2;
    context.fillStyle = colour.accent;
    context.beginPath();
    found.curve.forEach(([step, , , top]) => context.lineTo(x(step), y(top)));
    found.curve.toReversed().forEach(([step, , bottom]) => context.lineTo(x(step), y(bottom)));
    context.fill();
    context.globalAlpha = 1;
    line(context, found.curve.map(([step, score]) => [x(step), y(score)]), colour.accent, 1.5);
    line(context, found.held_out.map(([step, score]) => [x(step), y(score)]), colour.warm, 2.5);
    context.fillStyle = colour.warm;
    for (const [step, score] of found.held_out) context.fillRect(x(step) - 2, y(score) - 2, 4, 4);
    context.restore();
  }

  redrawn($("curve"), draw, leaving);
  leaving.push(() => clearTimeout(timer));
  await watch();
}

function expectation({ recipe, text, differs }) {
  return `The recipe ${recipe} says: ${text}${differs.length ? ` This run has ${differs.join("; ")}.` : ""}`;
}

function line(context, points, colour, width) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.beginPath();
  for (const point of points) context.lineTo(...point);
  context.stroke();
}

const digits = (span) => Math.max(0, 1 - Math.floor(Math.log10(span)));

// Round values between two ends, about so many.
function ticks(low, high, count) {
  const rough = (high - low || 1) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power, from = Math.ceil(low / step);
  return Array.from({ length: Math.max(0, Math.floor(high / step) - from + 1) }, (_, i) => (from + i) * step);
}

function time(seconds) {
  if (seconds < 1) return `${(1000 * seconds).toFixed(0)} ms`;
  if (seconds < 90) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} minutes` : `${(seconds / 3600).toFixed(1)} hours`;
}
