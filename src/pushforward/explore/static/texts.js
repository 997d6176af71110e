// A flow of texts: samples, each token with the colour of its bits.

import { copying, fields, plain, say } from "./server.js";

const $ = (id) => document.getElementById(id);

export async function texts({ run, query, ask, keep }) {
  const chosen = {
    prompt: query.get("prompt") ?? "",
    length: Number(query.get("length")) || run.window,
    seed: Number(query.get("seed")) || 0,
  };

  async function draw() {
    keep(chosen);
    reproduce();
    const began = performance.now(), answer = await ask(`runs/${run.name}/text`, chosen, "text");
    if (!answer) return;
    const mean = answer.bits.reduce((sum, of) => sum + of, 0) / answer.bits.length;
    const sorted = answer.bits.toSorted((a, b) => a - b), [low, high] = [0.02, 0.98].map((share) => sorted[Math.floor(share * (sorted.length - 1))]);
    $("text").replaceChildren(...answer.tokens.map((token, k) => {
      const span = document.createElement("span"), told = `${JSON.stringify(token)} has ${plain(answer.bits[k], 2)} bits`;
      span.textContent = token;
      span.title = told;
      span.style.setProperty("--share", Math.max(0, Math.min(1, (answer.bits[k] - low) / (high - low || 1))));
      if (k < answer.given) span.className = "given";
      span.addEventListener("pointerenter", () => { $("one").textContent = told; });
      return span;
    }));
    $("cost").textContent = plain(mean);
    $("unit").textContent = answer.unit;
    $("scale").textContent = `${plain(sorted[0], 1)} to ${plain(sorted.at(-1), 1)}`;
    $("follow").textContent = answer.how;
    say(`${answer.tokens.length} tokens in ${((performance.now() - began) / 1000).toFixed(1)} s, ${plain(mean)} ${answer.unit}`);
  }

  function reproduce() {
    const words = ["pushforward sample", run.run, "--n 1", chosen.prompt ? `--prompt ${JSON.stringify(chosen.prompt)}` : "", `--length ${chosen.length}`];
    words.push(chosen.seed ? `--seed ${chosen.seed}` : "");
    $("reproduce").querySelector("code").textContent = words.filter(Boolean).join(" ");
  }

  const failed = (error) => say(error.message);
  fields($("how"), chosen, () => draw().catch(failed));
  $("draw").addEventListener("click", () => { chosen.seed += 1; draw().catch(failed); });
  copying($("reproduce"));
  await draw();
}
