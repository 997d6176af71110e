// A flow of images: a gallery, what the flow makes of the picked image, and the line to another.

import { attributes } from "./attributes.js";
import { gallery } from "./gallery.js";
import { painting } from "./painting.js";
import { $, bar, number, plain, player, say, signed, together, whole } from "./page.js";

const SHOWN = 25, STEPS = 16, PAUSE = 600, FRAME = 90; // images, steps of a line, ms for a block and for a step

export async function images({ run, query, ask, keep, leaving }) {
  const path = `runs/${run.name}`;
  const chosen = {
    of: query.get("of") === "samples" ? "samples" : "data",
    start: whole(query, "start", 0),
    seed: whole(query, "seed", 0),
    label: query.get("label") ?? "",
    guidance: run.unconditional ? number(query, "guidance", 0) : 0,
    temperature: number(query, "temperature", 1),
    picture: query.get("picture") ?? "data:0",
    other: query.get("other") ?? "data:1",
    stage: whole(query, "stage", 0),
    edit: query.get("edit") ?? "",
    mask: query.get("mask") ?? "",
  };
  let costs = [], strip = [], found = null;
  const sampling = () => ({ label: chosen.label, guidance: chosen.guidance, temperature: chosen.temperature, seed: chosen.seed });
  const failed = (error) => say(error.message);
  const page = { path, run, ask, chosen, keep, sampling, leaving }, edit = attributes(page), repaint = painting(page);
  const { list, mark } = gallery(page, SHOWN, { picked: pick, drawn });

  function pick(name) {
    const other = $("other").getAttribute("aria-pressed") === "true";
    chosen[other ? "other" : "picture"] = name;
    $("other").setAttribute("aria-pressed", false);
    $("other").textContent = "Pick the other image";
    mark();
    keep(chosen);
    together(...(other ? [] : [look().then(edit)]), line()).catch(failed);
  }

  async function look() {
    const answer = await ask(`${path}/picked`, { picture: chosen.picture, ...sampling() }, "picked");
    if (!answer) return;
    found = answer;
    $("original").src = found.clean;
    $("original").alt = chosen.picture.replace(":", " ");
    $("said").textContent = found.label === null ? "image" : `class ${run.classes[found.label]}`;
    $("cost").textContent = plain(found.cost);
    $("unit").textContent = found.unit;
    $("trip").textContent = `${found.round_trip.toExponential(1)}, on [−1, 1]${found.same ? ": the same pixels" : ": other pixels"}`;
    $("base").textContent = `${plain(found.base, 1)} nats`;
    $("logp").textContent = `${plain(found.log_p, 1)} nats`;
    $("slider").max = found.blocks.length;
    for (const part of document.querySelectorAll(".by-block")) part.hidden = !found.blocks.length;
    bars(found.posterior);
    heat($("heat"), found.bits);
    repaint(found.clean);
    stage(Math.min(chosen.stage, found.blocks.length));
    rank();
    say(`${plain(found.cost)} ${found.unit}`);
  }

  function rank() {
    if (!costs.length || !found) return;
    const below = costs.filter((cost) => cost < found.cost).length;
    $("rank").textContent = `higher than for ${Math.round(100 * below / costs.length)} % of ${costs.length} held-out images`;
  }

  function bars(posterior) {
    $("bayes").hidden = !posterior.length;
    $("posterior").classList.toggle("named", run.classes.some((name) => name.length > 3));
    $("posterior").replaceChildren(...posterior.map((share, k) => bar(run.classes[k], 0, share, `${(100 * share).toFixed(1)} %`)));
  }

  function stage(k) {
    chosen.stage = k;
    const block = found.blocks[k - 1], sum = found.blocks.slice(0, k).reduce((total, one) => total + one.log_det, 0);
    $("slider").value = k;
    $("block").src = block ? block.image : found.encoded;
    const last = k && k === found.blocks.length;
    $("where").textContent = last ? `noise z, after ${block.name}` : block ? `after ${block.name}` : run.noise ? "with noise" : "encoded";
    $("block").alt = $("where").textContent;
    $("slider").setAttribute("aria-valuetext", $("where").textContent);
    $("sum").textContent = `${signed(sum, 1)} nats`;
    keep(chosen);
  }

  async function line() {
    if (!run.unconditional) return;
    const answer = await ask(`${path}/line`, { a: chosen.picture, b: chosen.other, n: STEPS + 1, ...sampling() }, "line");
    if (!answer) return;
    strip = answer;
    $("line").replaceChildren(...strip.filter((_, i) => i % 2 === 0).map((source, i) => {
      const image = document.createElement("img");
      image.src = source;
      image.alt = way(2 * i);
      return image;
    }));
    walk(Number($("way").value));
  }

  const way = (k) => (k === 0 ? "the picked image" : k === STEPS ? "the other image" : `${Math.round(100 * k / STEPS)} % of the way`);
  function walk(k) {
    $("way").value = k;
    $("way").setAttribute("aria-valuetext", way(k));
    $("moving").src = strip[k];
    $("moving").alt = way(k);
  }

  async function drawn() {
    if (chosen.picture.startsWith("sample") || chosen.other.startsWith("sample")) { await look(); await line(); await edit(); }
  }

  $("line").replaceChildren(...Array.from({ length: STEPS / 2 + 1 }, () => document.createElement("img")));
  bars(run.classes.map(() => 0));
  $("other").addEventListener("click", () => {
    const on = $("other").getAttribute("aria-pressed") !== "true";
    $("other").setAttribute("aria-pressed", on);
    $("other").textContent = on ? "Pick it in the gallery" : "Pick the other image";
  });
  const place = () => Number($("way").value), from = (at, last) => (at === last ? 0 : last);
  const blocks = { at: () => chosen.stage, end: () => (found ? from(chosen.stage, found.blocks.length) : undefined), go: stage };
  const steps = { at: place, end: () => (strip.length ? from(place(), STEPS) : undefined), go: walk };
  const pause = player($("play"), PAUSE, blocks, leaving), rest = player($("walk"), FRAME, steps, leaving);
  $("slider").addEventListener("input", (event) => { pause(); if (found) stage(Number(event.target.value)); });
  $("way").addEventListener("input", () => { rest(); if (strip.length) walk(place()); });
  $("way").value = 0;
  for (const id of ["between", "attributes", "painting"]) $(id).hidden ||= !run.unconditional; // they give no class
  $("painting").hidden ||= run.continuous; // a step of a chain would take seconds
  const parts = [list, look, line, async () => { costs = await ask(`${path}/costs`); rank(); }, edit], errors = [];
  for (const part of parts) await part().catch((error) => errors.push(error));
  if (errors.length) throw errors[0];
}

// Bits of each pixel: darker where they are more, from the least to the most of this image.
function heat(canvas, bits) {
  if (!bits.length) return;
  const all = bits.flat(), sound = all.filter(isFinite), least = Math.min(...sound), most = Math.max(...sound), context = canvas.getContext("2d");
  [canvas.height, canvas.width] = [bits.length, bits[0].length];
  const image = context.createImageData(canvas.width, canvas.height);
  all.forEach((value, i) => image.data.set([...viridis((value - least) / (most - least || 1)), 255], 4 * i));
  context.putImageData(image, 0, 0);
  $("scale").textContent = `${plain(least, 1)} … ${plain(most, 1)}`;
  canvas.setAttribute("aria-label", `bits of each pixel, from ${plain(least, 1)} to ${plain(most, 1)}, ${plain(all.reduce((a, b) => a + b, 0), 1)} in all`);
}

const STOPS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
function viridis(t) {
  const at = Math.max(0, Math.min(0.9999, t || 0)) * (STOPS.length - 1), k = Math.floor(at);
  return STOPS[k].map((from, i) => Math.round(from + (STOPS[k + 1][i] - from) * (at - k)));
}
