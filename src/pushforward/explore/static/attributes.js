// Sliders for the attributes of the picked image: each adds one, or takes it away.

import { $, say, signed } from "./page.js";

export function attributes({ path, run, ask, chosen, keep, sampling }) {
  let names = [];
  const past = []; // what to undo
  const amounts = new Map(chosen.edit.split(",").filter(Boolean).map((pair) => pair.split(":").map(Number)));
  const written = () => [...amounts].filter(([, amount]) => amount).map((pair) => pair.join(":")).join(",");
  const failed = (error) => say(error.message);

  function show(shown) {
    names = shown;
    $("attributes").hidden = !names.length;
    $("amounts").replaceChildren(...names.map((name, k) => {
      const label = document.createElement("label"), slider = document.createElement("input");
      const amount = document.createElement("output"), reading = document.createElement("span");
      Object.assign(slider, { type: "range", min: -2, max: 2, step: 0.1, value: amounts.get(k) ?? 0 });
      reading.className = "quiet reading";
      amount.ariaLive = "off"; // the slider says it
      label.append(`${name} `, amount, reading, slider);
      slider.addEventListener("pointerdown", remember);
      slider.addEventListener("keydown", (event) => { if (/^(Arrow|Page|Home|End)/.test(event.key) && !event.repeat) remember(); });
      slider.addEventListener("input", () => { amounts.set(k, Number(slider.value)); change().catch(failed); });
      return label;
    }));
    tell();
  }

  function tell() {
    [...$("amounts").children].forEach((label, k) => {
      const amount = amounts.get(k) ?? 0, slider = label.querySelector("input");
      slider.value = amount;
      slider.setAttribute("aria-valuetext", `${names[k]} ${signed(amount, 1)}`);
      label.querySelector("output").textContent = signed(amount, 1);
    });
    $("undo").disabled = !past.length;
  }

  function remember() {
    if (past.at(-1) !== written()) past.push(written());
  }

  async function change() {
    tell();
    keep(Object.assign(chosen, { edit: written() }));
    const answer = await ask(`${path}/edited`, { picture: chosen.picture, amounts: chosen.edit, ...sampling() }, "edited");
    if (!answer) return;
    $("raw").src = answer.raw;
    $("edited").src = answer.image;
    $("edited").alt = `the picked image, with ${names.map((name, k) => `${name} ${signed(amounts.get(k) ?? 0, 1)}`).join(", ")}`;
    [...$("amounts").querySelectorAll(".reading")].forEach((of, k) => { of.textContent = `has ${signed(answer.readings[k], 2)}`; });
  }

  function undo() {
    let before = past.pop() ?? "";
    while (before === written() && past.length) before = past.pop(); // a slider was pressed, and not moved
    set(before);
  }

  function set(text) {
    amounts.clear();
    for (const pair of text.split(",").filter(Boolean)) amounts.set(...pair.split(":").map(Number));
    change().catch(failed);
  }

  $("undo").addEventListener("click", undo);
  $("reset").addEventListener("click", () => { remember(); set(""); });
  $("raw").parentElement.hidden = run.noise === null;
  $("without").hidden = run.noise === null;
  show(run.classes);
  return async () => { // the picked image is another
    if (!run.unconditional) return;
    const known = await ask(`${path}/attributes`);
    if (known.join() !== names.join()) show(known);
    if (known.length) await change();
  };
}
