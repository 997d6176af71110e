// Pixels of the picked image that are painted over are drawn by the flow, given the others.

import { $, colours, plain, redrawn, say } from "./page.js";

const CELLS = 32, ROUNDS = 40; // of the mask along a side, at most; answers to ask for

// A cell of the grid in whole pixels: left, top, width, height.
function square(row, column, width, height) {
  const [left, top] = [Math.round(column * width), Math.round(row * height)];
  return [left, top, Math.round((column + 1) * width) - left, Math.round((row + 1) * height) - top];
}

export function painting({ path, run, ask, chosen, keep, sampling, leaving }) {
  const canvas = $("mask"), [rows, columns] = run.size.map((side) => Math.min(side, CELLS)), picture = new Image();
  let cells = read(chosen.mask), cursor = [0, 0], pen = null, drawing = 0, running = false;

  function read(text) {
    const bits = [...text].flatMap((digit) => [8, 4, 2, 1].map((bit) => Boolean(parseInt(digit, 16) & bit)));
    return Array.from({ length: rows * columns }, (_, i) => bits[i] ?? false);
  }

  function written() {
    if (!cells.some(Boolean)) return "";
    const digits = Array.from({ length: Math.ceil(cells.length / 4) }, (_, i) => cells.slice(4 * i, 4 * i + 4));
    return digits.map((four) => [8, 4, 2, 1].reduce((sum, bit, i) => sum + (four[i] ? bit : 0), 0).toString(16)).join("");
  }

  function draw() {
    const ratio = devicePixelRatio || 1, width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d"), colour = colours(), [x, y] = [width / columns, height / rows];
    context.imageSmoothingEnabled = false;
    context.clearRect(0, 0, width, height);
    if (picture.complete && picture.naturalWidth) context.drawImage(picture, 0, 0, width, height);
    context.fillStyle = colour.accent;
    context.globalAlpha = 0.8;
    cells.forEach((missing, i) => { if (missing) context.fillRect(...square(Math.floor(i / columns), i % columns, x, y)); });
    context.globalAlpha = 1;
    if (document.activeElement !== canvas) return;
    context.strokeStyle = colour.warm;
    context.lineWidth = 3 * ratio;
    context.strokeRect(cursor[1] * x + 2, cursor[0] * y + 2, x - 4, y - 4);
  }

  function changed() {
    stop();
    keep(Object.assign(chosen, { mask: written() }));
    $("fill").disabled = !cells.some(Boolean);
    tell();
    draw();
  }

  function tell() {
    const [row, column] = cursor, here = cells[row * columns + column] ? "missing" : "given";
    canvas.ariaLabel = `${cells.filter(Boolean).length} of ${cells.length} cells are missing; row ${row + 1}, column ${column + 1} is ${here}`;
  }

  function stop() {
    running = false;
    drawing += 1; // what is asked for is not shown
    $("fill").textContent = "Draw";
  }

  async function fill() {
    if (running) return stop();
    const mine = ++drawing;
    running = true;
    $("fill").textContent = "Stop";
    for (let round = 0; round < ROUNDS; round++) {
      const what = { picture: chosen.picture, mask: chosen.mask, anew: round ? "" : true, ...sampling() };
      const answer = await ask(`${path}/filled`, what, "filled");
      if (mine !== drawing) return;
      if (!answer) return stop();
      answer.images.forEach((source, i) => { $("fills").children[i].src = source; });
      $("acceptance").textContent = `${Math.round(100 * answer.acceptance)} %`;
      $("chains").textContent = `${answer.steps} steps, noise of ${plain(answer.scale)} in each${answer.tuning ? ", still adapted" : ""}`;
    }
    say(`${$("acceptance").textContent} of the proposals were accepted`);
    stop();
  }

  const at = (event) => {
    const box = canvas.getBoundingClientRect(), place = (share, n) => Math.max(0, Math.min(n - 1, Math.floor(share * n)));
    return [place((event.clientY - box.top) / box.height, rows), place((event.clientX - box.left) / box.width, columns)];
  };
  // The cells on the line from the cursor to another one, where the cursor then is: a pointer may pass several at once.
  function paint(value, to = cursor) {
    const [row, column] = cursor, [down, right] = [to[0] - row, to[1] - column], steps = Math.max(1, Math.abs(down), Math.abs(right));
    for (let k = 0; k <= steps; k++) cells[Math.round(row + k / steps * down) * columns + Math.round(column + k / steps * right)] = value;
    cursor = to;
    changed();
  }
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    cursor = at(event);
    pen = !cells[cursor[0] * columns + cursor[1]];
    paint(pen);
  });
  canvas.addEventListener("pointermove", (event) => { if (canvas.hasPointerCapture(event.pointerId)) paint(pen, at(event)); });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!way && event.key !== " ") return;
    event.preventDefault();
    if (way) {
      cursor = [Math.max(0, Math.min(rows - 1, cursor[0] + way[0])), Math.max(0, Math.min(columns - 1, cursor[1] + way[1]))];
      draw();
    } else {
      paint(!cells[cursor[0] * columns + cursor[1]]);
    }
    tell();
    say(canvas.ariaLabel);
  });
  for (const name of ["focus", "blur"]) canvas.addEventListener(name, draw);
  $("clear").addEventListener("click", () => { cells.fill(false); changed(); });
  $("half").addEventListener("click", () => { cells = cells.map((_, i) => Math.floor(i / columns) >= rows / 2); changed(); });
  $("fill").addEventListener("click", () => fill().catch((error) => { stop(); say(error.message); }));
  picture.addEventListener("load", draw);
  redrawn(canvas, draw, leaving);
  leaving.push(stop);
  canvas.style.aspectRatio = `${run.size[1]} / ${run.size[0]}`;
  changed();
  return (source) => { // the picked image is another
    for (const image of $("fills").children) image.removeAttribute("src");
    $("acceptance").textContent = "…";
    $("chains").textContent = "";
    picture.src = source;
    changed();
  };
}
