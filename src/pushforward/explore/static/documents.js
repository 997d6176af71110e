// A flow of images and captions: each is drawn, and scored, given the other.

import { gallery } from "./gallery.js";
import { $, fields, number, plain, say, whole } from "./page.js";
import { readable, tokens } from "./tokens.js";

const SHOWN = 10, FULL = 6; // images; nats of a token that has the full colour

export async function documents({ run, query, ask, keep }) {
  const path = `runs/${run.name}`;
  const chosen = {
    of: query.get("of") === "samples" ? "samples" : "data",
    start: whole(query, "start", 0),
    prompt: query.get("prompt") ?? "",
    guidance: run.unconditional ? number(query, "guidance", 0) : 0,
    temperature: number(query, "temperature", 1),
    seed: whole(query, "seed", 0),
    picture: query.get("picture") ?? "data:0",
    caption: query.get("caption") ?? "",
  };
  let looked = 0; // images, of which only what is asked of the last is shown
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
    const mine = ++looked, seen = await ask(`${path}/seen`, about(), "seen");
    if (!seen || mine !== looked) return;
    $("picked").src = seen.image;
    $("picked").alt = chosen.picture.replace(":", " ");
    $("whose").textContent = chosen.picture.startsWith("sample") ? "The prompt of the image" : "The caption of the image in the data";
    if (!chosen.prompt && seen.caption) $("how").elements.prompt.value = chosen.prompt = seen.caption;
    for (const id of ["written", "own", "given"]) show(id, null);
    const written = await ask(`${path}/written`, about(), "written");
    if (!written || mine !== looked) return;
    show("written", written);
    const own = seen.caption && await ask(`${path}/scored`, { ...about(), caption: seen.caption }, "own");
    if (mine !== looked) return;
    show("own", own);
    await compare();
    if (mine !== looked) return;
    say(`the caption that the flow writes is: ${written.caption}`);
  }

  async function compare() {
    keep(chosen);
    if (!chosen.caption) return show("given", null);
    const caption = chosen.caption, given = await ask(`${path}/scored`, { ...about(), caption }, "given");
    if (given && caption === chosen.caption) show("given", given);
  }

  // A caption's tokens and scores, or nothing yet.
  function show(id, found) {
    $(id).tabIndex = found ? 0 : -1;
    $(id).replaceChildren(...(found ? tokens(found.tokens, found.nats, "nats", (nats) => nats / FULL) : []));
    $(`${id}-scores`).textContent = found ? `log P(caption | image) ${plain(found.text, 1)}, log p(image | caption) ${plain(found.image, 1)} nats` : "";
  }

  for (const id of ["written", "own", "given"]) readable($(id), say);
  fields($("another"), chosen, () => compare().catch(failed));
  await list();
  await look();
}
