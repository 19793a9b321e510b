"""The page of the live view: one string, so that it travels with the package."""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>UniTrack Edge</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: dark; --line: #2c3138; --soft: #98a2ae; --good: #5bd18b; --bad: #ff7a6b; }
* { box-sizing: border-box; }
body { margin: 0; background: #14171b; color: #e8ebee;
       font: 15px/1.45 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
header { display: flex; gap: 1rem; align-items: baseline; padding: .7rem 1.2rem;
         border-bottom: 1px solid var(--line); }
h1 { font-size: 1.05rem; margin: 0; }
#note { color: var(--soft); }
#note.bad { color: var(--bad); }
main { display: grid; gap: 1.2rem; padding: 1.2rem;
       grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); }
section { background: #1b1f24; border: 1px solid var(--line); border-radius: 8px;
          overflow: hidden; max-width: 62rem; }
h2 { font-size: 1rem; margin: 0; padding: .55rem .9rem; display: flex; gap: .6rem;
     align-items: center; }
h2 i { width: .6rem; height: .6rem; border-radius: 50%; background: var(--bad); }
.up h2 i { background: var(--good); }
h2 small { font-weight: normal; color: var(--soft); overflow: hidden; text-overflow: ellipsis;
           white-space: nowrap; }
canvas { display: block; width: 100%; height: auto; background: #000; }
.startable canvas { cursor: crosshair; touch-action: none; }
dl { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin: 0; padding: .6rem .9rem; }
dl div { display: flex; flex-direction: column-reverse; }
dt { color: var(--soft); font-size: .8rem; }
dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.stages dd { font-size: .95rem; }
.stages { border-top: 1px solid var(--line); }
.hint { margin: 0; padding: .5rem .9rem; color: var(--soft); border-top: 1px solid var(--line); }
</style>
</head>
<body>
<header><h1>UniTrack Edge</h1><span id="note">connecting …</span></header>
<main></main>
<script>
"use strict";
const OVER = "the run is over, or cannot be reached";
const cards = new Map();
const note = document.querySelector("#note");
let canStart = false;
let spoken = false;

function say(text, bad = false) {
  note.textContent = text;
  note.classList.toggle("bad", bad);
}

function element(tag, parent, text = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  parent.append(made);
  return made;
}

function makeCard(name) {
  const section = element("section", document.querySelector("main"));
  section.dataset.source = name;
  const title = element("h2", section);
  element("i", title);
  element("span", title, name);
  const card = { name, section, message: element("small", title), size: null, tasks: [],
                 bitmap: null, drag: null };
  card.canvas = element("canvas", section);
  card.canvas.width = 640;
  card.canvas.height = 360;
  card.figures = element("dl", section);
  card.stages = element("dl", section);
  card.stages.className = "stages";
  card.hint = element("p", section);
  card.hint.className = "hint";
  listenToPointer(card);
  cards.set(name, card);
  showPictures(card);
  return card;
}

function fill(list, rows) {
  list.replaceChildren(...rows.map(([name, value]) => {
    const pair = document.createElement("div");
    element("dt", pair, name);
    element("dd", pair, value);
    return pair;
  }));
}

function update(state) {
  const card = cards.get(state.source) ?? makeCard(state.source);
  card.tasks = Object.keys(state.tracks);
  card.section.classList.toggle("up", state.up);
  card.message.textContent = state.message;
  const startable = canStart && card.tasks.some(task => task === "sot" || task === "vos");
  card.section.classList.toggle("startable", startable);
  card.hint.hidden = !startable;
  card.hint.textContent = [
    card.tasks.includes("sot") ? "Draw a box around an object to track it." : "",
    card.tasks.includes("vos") ? "Click an object to track its mask." : "",
  ].join(" ").trim();
  fill(card.figures, [
    ["FPS", state.fps.toFixed(1)],
    ["frames", String(state.frames)],
    ["dropped", String(state.dropped)],
    ...Object.entries(state.tracks).map(([task, count]) => ["tracks " + task, String(count)]),
  ]);
  fill(card.stages, Object.entries(state.stages_ms).map(
    ([stage, ms]) => [stage, ms.toFixed(1) + " ms"]));
}

async function showFigures() {
  for (;;) {
    try {
      const answer = await fetch("state");
      if (!answer.ok) throw new Error((await answer.json()).error);
      const { can_start, sources } = await answer.json();
      if (!spoken) say(sources.length ? "" : "no source is open yet");
      canStart = can_start;
      sources.forEach(update);
    } catch (error) {
      spoken = false;
      say(error instanceof TypeError ? OVER : error.message, true);
    }
    await new Promise(done => setTimeout(done, 500));
  }
}

// One image is asked for when the last one is on the screen: a slow viewer sees fewer of them.
async function showPictures(card) {
  let number = 0;
  for (;;) {
    try {
      const answer = await fetch(`image/${encodeURIComponent(card.name)}?after=${number}`);
      if (answer.status === 204) continue;
      if (!answer.ok) throw new Error(String(answer.status));
      number = Number(answer.headers.get("X-Image"));
      card.size = answer.headers.get("X-Source-Size").split("x").map(Number);
      card.bitmap?.close();
      card.bitmap = await createImageBitmap(await answer.blob());
      paint(card);
    } catch {
      number = 0;
      await new Promise(done => setTimeout(done, 1000));
    }
  }
}

function paint(card) {
  const { canvas, bitmap, drag } = card;
  if (!bitmap) return;
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height)
    Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
  const pen = canvas.getContext("2d");
  pen.drawImage(bitmap, 0, 0);
  if (!drag) return;
  const scale = canvas.width / card.size[0];
  pen.lineWidth = Math.max(2, canvas.width / 300);
  pen.strokeStyle = "#fff";
  pen.setLineDash([8, 6]);
  pen.strokeRect(...boxOf(drag).map(value => value * scale));
  pen.setLineDash([]);
}

function boxOf({ from, to }) {
  return [Math.min(from[0], to[0]), Math.min(from[1], to[1]),
          Math.abs(from[0] - to[0]), Math.abs(from[1] - to[1])];
}

function listenToPointer(card) {
  const place = event => {
    const area = card.canvas.getBoundingClientRect();
    const inside = (value, length, pixels) =>
      Math.min(Math.max(value / length, 0), 1) * pixels;
    return [inside(event.clientX - area.left, area.width, card.size[0]),
            inside(event.clientY - area.top, area.height, card.size[1])];
  };
  card.canvas.addEventListener("pointerdown", event => {
    if (!card.section.classList.contains("startable") || !card.size || event.button) return;
    card.canvas.setPointerCapture(event.pointerId);
    card.drag = { from: place(event), to: place(event) };
  });
  card.canvas.addEventListener("pointermove", event => {
    if (!card.drag) return;
    card.drag.to = place(event);
    paint(card);
  });
  card.canvas.addEventListener("pointercancel", () => { card.drag = null; });
  card.canvas.addEventListener("pointerup", event => {
    const drag = card.drag;
    card.drag = null;
    if (!drag) return;
    drag.to = place(event);
    paint(card);
    const box = boxOf(drag);
    const click = Math.max(box[2], box[3]) < card.size[0] / 100;
    if (click && card.tasks.includes("vos")) start(card, "vos", { point: drag.from });
    else if (click) tell("draw a box around the object", true);
    else for (const task of ["sot", "vos"])
      if (card.tasks.includes(task)) start(card, task, { box });
  });
}

// What a viewer did is answered for so long, and then the note is about the run again.
function tell(text, bad = false) {
  spoken = true;
  say(text, bad);
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => { spoken = false; }, 5000);
}

async function start(card, task, where) {
  try {
    const reply = await fetch("start", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ source: card.name, task, ...where }),
    });
    const said = await reply.json();
    tell(reply.ok ? `${card.name}: ${task} started` : said.error, !reply.ok);
  } catch {
    tell(OVER, true);
  }
}

showFigures();
</script>
</body>
</html>
"""
