// Tokens of a text, each with a colour: `share` takes the value of a token, and gives 0 … 1, of the full colour.

import { plain } from "./page.js";

export function tokens(texts, values, unit, share) {
  return texts.map((text, k) => {
    const token = document.createElement("span");
    token.textContent = text;
    token.title = `${JSON.stringify(text)} has ${plain(values[k], 2)} ${unit}`;
    token.className = "token";
    token.style.setProperty("--share", Math.max(0, Math.min(1, share(values[k]))));
    return token;
  });
}

// A list of tokens is read one by one, by the pointer or, where it has the focus, by the arrow keys: `tell` takes what
// each has.
export function readable(list, tell) {
  let at = -1;
  list.addEventListener("pointerover", (event) => { if (event.target !== list) tell(event.target.title); });
  list.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key], spans = list.children;
    if (!way || !spans.length) return;
    event.preventDefault();
    spans[at]?.classList.remove("here");
    at = Math.max(0, Math.min(spans.length - 1, at + way));
    spans[at].classList.add("here");
    tell(spans[at].title);
  });
}
