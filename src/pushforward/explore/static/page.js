// What the views have in common: controls, what is said, numbers in words, and pictures.

export const $ = (id) => document.getElementById(id);

// The controls of a form write into `chosen`, by their names, and what they say into their outputs.
export function fields(form, chosen, changed) {
  for (const control of form.elements) {
    if (!(control.name in chosen)) continue;
    const output = control.parentElement.querySelector("output");
    const tell = () => { if (output) output.textContent = control.value; };
    control.value = chosen[control.name];
    tell();
    control.addEventListener(control.type === "text" ? "change" : "input", () => {
      chosen[control.name] = control.type === "range" ? Number(control.value) : control.value;
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
    await navigator.clipboard.writeText(command.querySelector("code").textContent);
    say("copied");
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

export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
const size = (value, digits) => Math.abs(value).toFixed(digits).replace("Infinity", "∞");
export const signed = (value, digits = 3) => `${value < 0 ? "−" : "+"}${size(value, digits)}`;
export const plain = (value, digits = 3) => `${value < 0 && Number(size(value, digits)) !== 0 ? "−" : ""}${size(value, digits)}`;

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
