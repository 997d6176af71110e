// What the views have in common: controls, what is said, numbers in words, and pictures.

export const $ = (id) => document.getElementById(id);

// A number in the address, within two ends; another one where there is none.
export function number(query, name, otherwise, low = -Infinity, high = Infinity) {
  const given = query.get(name) ? Number(query.get(name)) : NaN;
  return Number.isNaN(given) ? otherwise : Math.max(low, Math.min(high, given));
}

const MOST = 2 ** 31 - 1; // of a seed, and of the number of an image
export const whole = (query, name, otherwise, low = 0, high = MOST) => Math.round(number(query, name, otherwise, low, high));

// The controls of a form write into `chosen`, by their names, and what they say into their outputs. What a control
// cannot say is not chosen.
export function fields(form, chosen, changed) {
  for (const control of form.elements) {
    if (!(control.name in chosen)) continue;
    const output = control.parentElement.querySelector("output");
    const tell = () => { if (output) output.textContent = control.value; };
    const read = () => { chosen[control.name] = control.type === "range" ? Number(control.value) : control.value; };
    control.value = chosen[control.name];
    read();
    tell();
    control.addEventListener(control.type === "text" ? "change" : "input", () => {
      read();
      tell();
      changed();
    });
  }
  form.addEventListener("submit", (event) => event.preventDefault());
}

// The command that draws these samples: `more` are options that no control has.
export function reproduce(run, chosen, more) {
  const usual = { label: "", prompt: "", length: null, frames: null, guidance: 0, temperature: 1, seed: 0 };
  const told = Object.keys(usual).filter((name) => name in chosen && (chosen[name] !== usual[name] || (name === "prompt" && run.prompted)));
  const options = [["n", more.n], ...told.map((name) => [name, chosen[name]]), ["out", more.out]].filter(([, value]) => value !== undefined);
  const words = options.map(([name, value]) => `--${name} ${typeof value === "string" ? quoted(value) : value}`);
  document.querySelector("#reproduce code").textContent = ["pushforward sample", quoted(run.run), ...words].join(" ");
}

const quoted = (text) => (/^[\w.:/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`); // for a shell

// A command that is copied by its button.
export function copying(command) {
  command.querySelector("button").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command.querySelector("code").textContent);
      say("copied");
    } catch {
      getSelection().selectAllChildren(command.querySelector("code"));
      say("the browser does not let this page copy: the command is selected");
    }
  });
}

let later, said;
// Say something to everybody, readers of screens too; of quick repetitions only the last.
export function say(text) {
  said = text;
  clearTimeout(later);
  later = setTimeout(() => { $("status").textContent = text; }, 400);
}

// Take back what was said, unless something else was said since.
export function unsay(text) {
  if (said === text) say("");
}

// Wait for all, then fail as the first of them that fails: so what another one says does not take its message's place.
export async function together(...parts) {
  const failed = (await Promise.allSettled(parts)).find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
}

const LARGE = 1e16; // it is written with an exponent
export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
const size = (value, digits) => Math.abs(value)[Math.abs(value) < LARGE ? "toFixed" : "toExponential"](digits).replace("Infinity", "∞");
const negative = (value, digits) => value < 0 && Number(size(value, digits)) !== 0; // once it is rounded
export const signed = (value, digits = 3) => `${negative(value, digits) ? "−" : "+"}${size(value, digits)}`;
export const plain = (value, digits = 3) => `${negative(value, digits) ? "−" : ""}${size(value, digits)}`;

// A button that plays: it goes step by step from `at()` to `end()`, undefined where there is nothing to play, and stops
// when it is pressed again; at once where less motion is wished. What comes back stops it.
export function player(button, every, { at, end, go }, leaving) {
  let timer = 0;
  const stop = () => { clearInterval(timer); timer = 0; button.textContent = "Play"; };
  button.addEventListener("click", () => {
    const last = end();
    if (timer || last === undefined) return stop();
    if (still()) return go(last);
    button.textContent = "Stop";
    timer = setInterval(() => {
      go(at() + Math.sign(last - at()));
      if (at() === last) stop();
    }, every);
  });
  leaving.push(stop);
  return stop;
}

// Draw a canvas again when its size or the colours of the page change.
export function redrawn(canvas, draw, leaving) {
  const sized = new ResizeObserver(draw), dark = matchMedia("(prefers-color-scheme: dark)");
  sized.observe(canvas);
  dark.addEventListener("change", draw);
  leaving.push(() => { sized.disconnect(); dark.removeEventListener("change", draw); });
}

// A row of a list of bars, from one share of the width to another: a name, a bar, and a value.
export function bar(name, from, to, value) {
  const item = document.createElement("li"), whole = document.createElement("span"), part = document.createElement("span");
  const [before, after] = [name, value].map((text) => Object.assign(document.createElement("span"), { textContent: text }));
  whole.className = "bar";
  after.className = "value";
  part.className = to < from ? "less" : "";
  part.style.left = `${100 * Math.min(from, to)}%`;
  part.style.width = `${100 * Math.abs(to - from)}%`;
  whole.append(part);
  item.append(before, whole, after);
  return item;
}

// The context of a canvas in which this size is that of its element, however fine the screen is.
export function scaled(canvas, width = canvas.clientWidth, height = canvas.clientHeight) {
  const ratio = devicePixelRatio || 1, [across, along] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== across || canvas.height !== along) [canvas.width, canvas.height] = [across, along];
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

// The colours of the page, light or dark, by their names.
export function colours() {
  const style = getComputedStyle(document.documentElement), names = ["accent", "warm", "ink", "quiet", "rule", "panel"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}
