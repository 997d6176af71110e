// Images to pick from: held-out ones; samples, of a class or a prompt; and uploads.

import { $, copying, fields, reproduce, say } from "./page.js";
import { uploading } from "./server.js";

// The gallery of a page, of so many images. `picked` takes the name of an image that is picked; `drawn` is called when
// the samples are others. What comes back lists the images, and marks those that are picked.
export function gallery({ path, run, ask, chosen, keep, sampling }, count, { picked, drawn }) {
  const failed = (error) => say(error.message);

  async function list() {
    for (const button of document.querySelectorAll("[data-of]")) button.setAttribute("aria-pressed", button.dataset.of === chosen.of);
    $("how").hidden = $("reproduce").hidden = chosen.of === "data";
    keep(chosen);
    reproduce(run, chosen, { n: count, out: "samples.png" });
    const began = performance.now();
    const listed = await ask(`${path}/gallery`, { of: chosen.of, start: chosen.start, n: count, ...sampling() }, "gallery");
    if (!listed) return;
    if (!listed.length && chosen.start) { // after the last come the first
      chosen.start = 0;
      return list();
    }
    if (!listed.length) { // the data are not here
      for (const which of ["picture", "other"]) chosen[which] &&= chosen[which].replace("data", "sample");
      chosen.of = "samples";
      return list();
    }
    $("gallery").replaceChildren(...listed.map((one) => {
      const button = document.createElement("button"), image = document.createElement("img");
      const told = one.label === null ? one.caption : `class ${run.classes[one.label]}`;
      button.type = "button";
      button.dataset.name = one.name;
      image.src = one.image;
      image.alt = [one.name.replace(":", " "), told].filter(Boolean).join(", ");
      button.append(image);
      button.addEventListener("click", () => picked(one.name));
      return button;
    }));
    mark();
    if (chosen.of === "samples") say(`${listed.length} samples in ${((performance.now() - began) / 1000).toFixed(1)} s`);
  }

  function mark() {
    for (const button of $("gallery").children) button.setAttribute("aria-pressed", [chosen.picture, chosen.other].includes(button.dataset.name));
  }

  async function again() {
    await list();
    await drawn();
  }

  $("picking").append($("gallery-of").content.cloneNode(true));
  $("gallery").replaceChildren(...Array.from({ length: count }, () => { // what comes has its place
    const button = document.createElement("button");
    button.disabled = true;
    button.append(document.createElement("img"));
    return button;
  }));
  const { label, prompt, guidance } = $("how").elements;
  label.append(new Option("every class in turn", ""), ...run.classes.map((name, k) => new Option(name, k)));
  label.parentElement.hidden = !run.classes.length;
  prompt.parentElement.hidden = !run.prompted;
  guidance.parentElement.hidden = !(run.classes.length || run.prompted) || !run.unconditional;
  fields($("how"), chosen, () => again().catch(failed));
  for (const button of document.querySelectorAll("[data-of]")) {
    button.addEventListener("click", () => { chosen.of = button.dataset.of; list().catch(failed); });
  }
  $("more").addEventListener("click", () => {
    if (chosen.of === "data") chosen.start += count; else chosen.seed += 1;
    again().catch(failed);
  });
  $("upload").querySelector("input").addEventListener("change", async (event) => {
    try {
      if (event.target.files.length) picked((await ask(`${path}/images`, {}, "", uploading(event.target.files[0]))).name);
    } catch (error) {
      failed(error);
    }
    event.target.value = "";
  });
  copying($("reproduce"));
  return { list, mark };
}
