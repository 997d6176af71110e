// A flow of images and captions: each is drawn, and scored, given the other.

import { gallery } from "./gallery.js";
import { $, fields, plain, say } from "./page.js";
import { tokens } from "./tokens.js";

const SHOWN = 10, FULL = 6; // images; nats of a token that has the full colour

export async function documents({ run, query, ask, keep }) {
  const path = `runs/${run.name}`;
  const chosen = {
    of: query.get("of") === "samples" ? "samples" : "data",
    start: Number(query.get("start")) || 0,
    prompt: query.get("prompt") ?? "",
    guidance: (run.unconditional && Number(query.get("guidance"))) || 0,
    temperature: query.has("temperature") ? Number(query.get("temperature")) : 1,
    seed: Number(query.get("seed")) || 0,
    picture: query.get("picture") ?? "data:0",
    caption: query.get("caption") ?? "",
  };
  const sampling = () => ({ prompt: chosen.prompt, guidance: chosen.guidance, temperature: chosen.temperature, seed: chosen.seed });
  const failed = (error) => say(error.message);
  const about = () => ({ picture: chosen.picture, ...sampling() });
  const { list, mark } = gallery({ path, run, ask, chosen, keep, sampling }, SHOWN, { picked: pick, drawn });

  function pick(name) {
    chosen.picture = name;
    mark();
    keep(chosen);
    look().catch(failed);
  }

  async function drawn() {
    if (chosen.picture.startsWith("sample")) await look();
  }

  async function look() {
    const seen = await ask(`${path}/seen`, about(), "seen");
    if (!seen) return;
    $("picked").src = seen.image;
    $("picked").alt = chosen.picture.replace(":", " ");
    $("whose").textContent = chosen.picture.startsWith("sample") ? "Its prompt" : "Its own caption";
    if (!chosen.prompt && seen.caption) $("how").elements.prompt.value = chosen.prompt = seen.caption;
    for (const id of ["written", "own", "given"]) show(id, null);
    const written = await ask(`${path}/written`, about(), "written");
    if (!written) return;
    show("written", written);
    if (seen.caption) show("own", await ask(`${path}/scored`, { ...about(), caption: seen.caption }, "own"));
    await compare();
    say(`the caption that the flow writes is: ${written.caption}`);
  }

  async function compare() {
    keep(chosen);
    if (chosen.caption) show("given", await ask(`${path}/scored`, { ...about(), caption: chosen.caption }, "given"));
  }

  // A caption's tokens and scores, or nothing yet.
  function show(id, found) {
    $(id).replaceChildren(...(found ? tokens(found.tokens, found.nats, "nats", (nats) => nats / FULL) : []));
    $(`${id}-scores`).textContent = found ? `log P(caption | image) ${plain(found.text, 1)}, log p(image | caption) ${plain(found.image, 1)} nats` : "";
  }

  fields($("another"), chosen, () => compare().catch(failed));
  await list();
  await look();
}
