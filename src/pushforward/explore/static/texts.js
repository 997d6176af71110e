// A flow of texts: samples, each token with the colour of its bits.

import { $, copying, fields, plain, reproduce, say, whole } from "./page.js";
import { readable, tokens } from "./tokens.js";

export async function texts({ run, query, ask, keep }) {
  const chosen = {
    prompt: query.get("prompt") ?? "",
    length: whole(query, "length", run.window, 1),
    seed: whole(query, "seed", 0),
  };

  async function draw() {
    keep(chosen);
    reproduce(run, chosen, { n: 1 });
    const began = performance.now(), answer = await ask(`runs/${run.name}/text`, chosen, "text");
    if (!answer) return;
    const mean = answer.bits.reduce((sum, of) => sum + of, 0) / answer.bits.length;
    const sorted = answer.bits.toSorted((a, b) => a - b), [low, high] = [0.02, 0.98].map((share) => sorted[Math.floor(share * (sorted.length - 1))]);
    const spans = tokens(answer.tokens, answer.bits, "bits", (bits) => (bits - low) / (high - low || 1));
    spans.slice(0, answer.given).forEach((span) => span.classList.add("given"));
    $("text").replaceChildren(...spans);
    $("cost").textContent = plain(mean);
    $("unit").textContent = answer.unit;
    $("scale").textContent = `${plain(sorted[0], 1)} to ${plain(sorted.at(-1), 1)}`;
    $("follow").textContent = answer.how;
    say(`${answer.tokens.length} tokens in ${((performance.now() - began) / 1000).toFixed(1)} s, ${plain(mean)} ${answer.unit}`);
  }

  const failed = (error) => say(error.message);
  fields($("how"), chosen, () => draw().catch(failed));
  $("draw").addEventListener("click", () => { chosen.seed += 1; draw().catch(failed); });
  readable($("text"), (text) => { $("one").textContent = text; });
  copying($("reproduce"));
  await draw();
}
