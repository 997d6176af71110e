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
    const answer = ask(...given);
    await answer.catch(() => {});
    return mine === visited ? answer : never;
  };
}

function stop() {
  latest.clear();
  asked.forEach((one) => one.control.abort());
}

const wait = (time) => new Promise((resolve) => { setTimeout(resolve, time); });

// The answer. It is undefined where a later request of the channel took this one's place, or this one was stopped; a
// request without a channel that is stopped is an error.
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
  let response, text;
  try {
    response = await fetch(`/api/${path}?${new URLSearchParams(given)}`, { ...options, headers, signal: control.signal });
    text = await response.text();
  } catch (error) {
    if (error.name !== "AbortError") throw new Error("the server does not answer: is pushforward explore still running?");
    if (!channel) throw new Error("the request was stopped");
    return undefined;
  }
  if (response.status === 409) return undefined;
  if (!response.headers.get("content-type")?.includes("json")) throw new Error(text);
  const answer = JSON.parse(text, (_, value) => (STRINGS.includes(value) ? Number(value) : value));
  if (!response.ok) throw new Error(refusal(answer.detail));
  return answer;
}

// Why a request was refused: a text, or what is wrong with each of its values.
function refusal(detail) {
  return typeof detail === "string" ? detail : detail.map(({ loc, msg }) => `${loc.at(-1)}: ${msg}`).join("; ");
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
