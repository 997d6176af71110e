// Requests to the server. Of several with one channel, only the answer to the latest is used.

const STRINGS = ["Infinity", "-Infinity", "NaN"]; // JSON has no such numbers
const channels = new Map();
const page = Math.random().toString(36).slice(2);
let visited = 0;

// A page's way to ask. Once another page is visited, it gets no answer any more: what waits for one ends.
export function visit() {
  const mine = ++visited, never = new Promise(() => {});
  channels.forEach((control) => control.abort());
  channels.clear();
  return async (...asked) => {
    if (mine !== visited) return never;
    const answer = await ask(...asked);
    return mine === visited ? answer : never;
  };
}

// The answer, or undefined where a later request of the channel took its place.
export async function ask(path, query = {}, channel = "", options = {}) {
  channels.get(channel)?.abort();
  const control = new AbortController();
  if (channel) channels.set(channel, control);
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  const headers = { ...options.headers, ...(channel && { "X-Latest": `${page}-${channel}` }) };
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

// What `ask` takes to upload a file.
export function uploading(file) {
  const token = document.querySelector("meta[name=token]").content;
  return { method: "POST", body: file, headers: { "X-Token": token } };
}

let later;
// Say something to everybody, readers of screens too; of quick repetitions only the last.
export function say(text) {
  clearTimeout(later);
  later = setTimeout(() => { document.getElementById("status").textContent = text; }, 400);
}

export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
const size = (value, digits) => Math.abs(value).toFixed(digits).replace("Infinity", "∞");
export const signed = (value, digits = 3) => `${value < 0 ? "−" : "+"}${size(value, digits)}`;
export const plain = (value, digits = 3) => `${value < 0 ? "−" : ""}${size(value, digits)}`;
