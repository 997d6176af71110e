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
const runs = await ask("runs");
let leaving = []; // what ends when another run is shown

function state() {
  const [name, query] = decodeURI(location.hash.slice(1)).split("?");
  return { name, query: new URLSearchParams(query) };
}

// Write the state of the shown run into the address, without a step of the history.
function keep(name, values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== "" && value !== null);
  history.replaceState(null, "", `#${name}?${new URLSearchParams(given)}`);
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
  const { name, query } = state();
  const run = runs.find((run) => run.name === name) ?? runs[0];
  leaving.forEach((end) => end());
  leaving = [];
  document.getElementById("runs").replaceChildren(...runs.map((other) => {
    const link = document.createElement("a");
    link.href = `#${other.name}`;
    link.textContent = other.name;
    if (other === run) link.setAttribute("aria-current", "page");
    return link;
  }));
  parts(run);
  document.getElementById("made").hidden = false;
  document.title = `${run.name} · Pushforward`;
  document.getElementById("about").textContent = `${run.model} of ${run.data || run.name}, ${run.parameters.toLocaleString("en")} parameters`;
  document.getElementById("about").title = run.configuration;
  const view = run.logged && query.get("view") === "training" ? "training" : run.kind;
  document.getElementById("views").replaceChildren(...(run.logged ? [["", "The flow"], ["?view=training", "Its training"]] : []).map(([of, text]) => {
    const link = document.createElement("a");
    link.href = `#${run.name}${of}`;
    link.textContent = text;
    if (Boolean(of) === (view === "training")) link.setAttribute("aria-current", "page");
    return link;
  }));
  if (!view) {
    const text = document.createElement("p");
    text.textContent = `${run.run} is a ${run.model}, which this page cannot show yet: it shows flows of images, clips, texts, images with captions, and of few features, given a vector or nothing.`;
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

addEventListener("hashchange", show);
show();
