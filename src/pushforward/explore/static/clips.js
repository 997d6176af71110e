// A flow of clips: frames are asked for one by one, and play as they come.

import { $, copying, fields, number, reproduce, say, still, whole } from "./page.js";

const FRAME = 125, MOST = 64; // ms of a frame; frames of a clip

export async function clips({ run, query, ask, keep, leaving }) {
  const chosen = {
    prompt: query.get("prompt") ?? (run.prompted ? "walking left, blue robe" : ""),
    frames: whole(query, "frames", Math.min(run.frames, MOST), 1, MOST),
    guidance: number(query, "guidance", 0),
    temperature: number(query, "temperature", 1),
    seed: whole(query, "seed", 0),
  };
  let frames = [], at = 0, timer = 0, drawing = 0;

  function show(k) {
    at = Math.max(0, Math.min(k, frames.length - 1));
    $("frame").src = frames[at];
    $("frame").alt = `frame ${at + 1} of ${chosen.frames}`;
    $("slider").value = at;
    $("number").textContent = `${at + 1} of ${chosen.frames}`;
    [...$("frames").children].forEach((image, k) => { if (k === at) image.setAttribute("aria-current", "true"); else image.removeAttribute("aria-current"); });
  }

  function fill(k, source) {
    frames[k] = source;
    $("frames").children[k].src = source;
    $("slider").max = frames.length - 1;
  }

  async function draw() {
    const mine = ++drawing, began = performance.now();
    keep(chosen);
    reproduce(run, chosen, { n: 1, out: "clip.gif" });
    frames = [];
    $("slider").max = 0;
    $("frames").replaceChildren(...Array.from({ length: chosen.frames }, (_, k) => Object.assign(document.createElement("img"), { alt: `frame ${k + 1}` })));
    for (let k = 0, last = false; !last; k++) { // frames of the event: with each come one or several of the clip
      const answer = await ask(`runs/${run.name}/frame`, { ...chosen, k }, "frame");
      if (!answer || mine !== drawing) return;
      answer.frames.forEach((source, i) => fill(answer.start + i, source));
      if (!timer || k === 0) show(k);
      last = answer.last;
    }
    say(`${chosen.frames} frames in ${((performance.now() - began) / 1000).toFixed(1)} s`);
  }

  function play(on) {
    clearInterval(timer);
    timer = on && !still() ? setInterval(() => { if (frames.length) show((at + 1) % frames.length); }, FRAME) : 0;
    $("play").textContent = timer ? "Pause" : "Play";
    if (on && still() && frames.length) show((at + 1) % frames.length);
  }

  const failed = (error) => say(error.message);
  $("asked").hidden = !run.prompted;
  $("how").elements.guidance.parentElement.hidden = !run.prompted || !run.unconditional;
  fields($("how"), chosen, () => draw().catch(failed));
  $("draw").addEventListener("click", () => { chosen.seed += 1; draw().catch(failed); });
  $("play").addEventListener("click", () => play(!timer));
  $("slider").addEventListener("input", () => { play(false); show(Number($("slider").value)); });
  copying($("reproduce"));
  leaving.push(() => { clearInterval(timer); drawing += 1; });
  play(!still());
  await draw();
}
