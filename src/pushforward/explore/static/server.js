// Requests to the server. Of several with one channel, only the answer to the latest is used.

const STRINGS = ["Infinity", "-Infinity", "NaN"]; // JSON has no such numbers
const PATIENCE = 400, LONG = 700; // ms that a request has before a later one ends it, and until its progress is shown
const page = Math.random().toString(36).slice(2);
const asked = new Set(), latest = new Map(), sent = new Map(); // requests that wait for an answer; of each channel the latest, and the one that was sent
const working = document.getElementById("working"), done = document.getElementById("done");
let visited = 0, events = null;

// A page's way to ask. Once another page is visited, it gets no answer any more: what waits for one ends.
export function visit() {
  const mine = ++visited, never = new Promise(() => {});
  stop();
  return async (...given) => {
    if (mine !== visited) return never;
    const answer = await ask(...given);
    return mine === visited ? answer : never;
  };
}

function stop() {
  latest.clear();
  asked.forEach((one) => one.control.abort());
}

const wait = (time) => new Promise((resolve) => { setTimeout(resolve, time); });

// The answer, or undefined where a later request of the channel took its place, or it was stopped.
export async function ask(path, query = {}, channel = "", options = {}) {
  const mine = { control: new AbortController() }, before = sent.get(channel);
  if (channel) latest.set(channel, mine);
  if (asked.has(before)) {
    await Promise.race([before.ended.catch(() => {}), wait(before.began + PATIENCE - performance.now())]);
    if (latest.get(channel) !== mine) return undefined;
    before.control.abort();
  }
  if (channel) sent.set(channel, mine);
  mine.began = performance.now();
  mine.ended = answered(path, query, channel, options, mine).finally(() => asked.delete(mine));
  asked.add(mine);
  watch(mine);
  return mine.ended;
}

async function answered(path, query, channel, options, { control }) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  const headers = { ...options.headers, "X-Page": page, ...(channel && { "X-Channel": channel }) };
  try {
    const response = await fetch(`/api/${path}?${new URLSearchParams(given)}`, { ...options, headers, signal: control.signal });
    if (response.status === 409) return undefined;
    const answer = JSON.parse(await response.text(), (_, value) => (STRINGS.includes(value) ? Number(value) : value));
    if (!response.ok) throw new Error(typeof answer.detail === "string" ? answer.detail : "the request was refused");
    return answer;
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    throw error;
  }
}

// Show the progress of a request that takes long. Events come only while one waits: a browser has few connections.
async function watch(one) {
  await wait(LONG);
  if (!asked.has(one) || events) return;
  events = new EventSource(`/api/events?page=${page}`);
  events.onerror = unwatch;
  events.onmessage = ({ data }) => {
    const job = JSON.parse(data)[0];
    if (!job) return unwatch();
    working.hidden = false;
    if (job.share === null) done.removeAttribute("value"); else done.value = job.share;
    const others = job.others === 1 ? "1 other request" : `${job.others} other requests`;
    working.querySelector("span").textContent = `${Math.round(job.seconds)} s${job.others ? `, beside ${others}` : ""}`;
  };
}

function unwatch() {
  events?.close();
  events = null;
  working.hidden = true;
  for (const one of asked) watch(one);
}

working.querySelector("button").addEventListener("click", stop);

// What `ask` takes to upload a file.
export function uploading(file) {
  const token = document.querySelector("meta[name=token]").content;
  return { method: "POST", body: file, headers: { "X-Token": token } };
}

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
  later = setTimeout(() => { document.getElementById("status").textContent = text; }, 400);
}

// Take back what was said, unless something else was said since.
export function unsay(text) {
  if (said === text) say("");
}

export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
const size = (value, digits) => Math.abs(value).toFixed(digits).replace("Infinity", "∞");
export const signed = (value, digits = 3) => `${value < 0 ? "−" : "+"}${size(value, digits)}`;
export const plain = (value, digits = 3) => `${value < 0 && Number(size(value, digits)) !== 0 ? "−" : ""}${size(value, digits)}`;
