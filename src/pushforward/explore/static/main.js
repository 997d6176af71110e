// The page: which run is shown. The address after # is its state: NAME?stage=…

import { say, unsay } from "./page.js";
import { ask, visit } from "./server.js";
import { plane } from "./plane.js";
import { clips } from "./clips.js";
import { documents } from "./documents.js";
import { images } from "./images.js";
import { texts } from "./texts.js";
import { training } from "./training.js";
import { vectors } from "./vectors.js";

const VIEWS = { plane, images, clips, texts, documents, vectors, training };

const main = document.getElementById("main");
const runs = await ask("runs").catch((error) => { say(error.message); return []; });
let leaving = []; // what ends when another run is shown
let address; // of what is shown

function state() {
  const [name, query] = location.hash.slice(1).split("?");
  return { name: decoded(name), query: new URLSearchParams(query) };
}

function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // typed by hand
  }
}

// Links in a list, each an address, a text, and whether it leads to what is shown. One that has the focus keeps it.
function linked(list, links) {
  if (list.children.length !== links.length) list.replaceChildren(...links.map(() => document.createElement("a")));
  links.forEach(([address, text, here], k) => {
    const link = list.children[k];
    link.href = address;
    link.textContent = text;
    if (here) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  });
}

// Write the state of the shown run into the address, without a step of the history; not where another address was given.
function keep(name, values) {
  if (location.hash !== address) return;
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== "" && value !== null);
  history.replaceState(null, "", `#${name}?${new URLSearchParams(given)}`);
  address = location.hash;
}

// The transforms from data to latent; one opens to say who moves, how, and which network says by how much.
function parts(run) {
  const ends = (text) => Object.assign(document.createElement("li"), { className: "end-of-chain", textContent: text });
  document.getElementById("parts").replaceChildren(ends("data x"), ...run.parts.map((part) => {
    const item = document.createElement("li"), opened = document.createElement("details"), summary = document.createElement("summary");
    const three = [part.who, part.how, part.network].filter(Boolean).join(" × ");
    summary.textContent = part.name;
    opened.append(summary, `${three}, ${part.parameters.toLocaleString("en")} parameters`);
    item.append(opened);
    return item;
  }), ends("latent z"));
}

async function show() {
  address = location.hash;
  const { name, query } = state();
  const run = runs.find((run) => run.name === name) ?? runs[0];
  leaving.forEach((end) => end());
  leaving = [];
  linked(document.getElementById("runs"), runs.map((other) => [`#${other.name}`, other.name, other === run]));
  parts(run);
  document.getElementById("made").hidden = false;
  document.title = `${run.name} · Pushforward`;
  document.getElementById("about").textContent = `${run.model} of ${run.data || run.name}, ${run.parameters.toLocaleString("en")} parameters`;
  document.getElementById("about").title = run.configuration;
  const view = run.logged && query.get("view") === "training" ? "training" : run.kind;
  const views = [["", "The flow"], ["?view=training", "The training"]].map(([of, text]) => [`#${run.name}${of}`, text, Boolean(of) === (view === "training")]);
  linked(document.getElementById("views"), run.logged ? views : []);
  if (!view) {
    const text = document.createElement("p");
    text.textContent = `${run.run} is a flow of the model ${run.model}, which this page cannot show. It shows flows of images, clips, texts, images with captions, and rows of up to 24 features, given a vector or nothing.`;
    main.replaceChildren(text);
    return;
  }
  main.replaceChildren(document.getElementById(view).content.cloneNode(true));
  const loading = `${run.name} is loading`;
  say(loading);
  try {
    const page = { run, query, ask: visit(), keep: (values) => keep(run.name, values), leaving };
    await VIEWS[view](page);
    unsay(loading);
  } catch (error) {
    say(error.message);
  }
}

if (runs.length) {
  addEventListener("hashchange", show);
  show();
}
