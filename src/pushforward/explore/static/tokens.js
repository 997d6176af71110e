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
