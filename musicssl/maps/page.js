"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const canvas = $("map"), pen = canvas.getContext("2d");
const n = data.names.length, MOST = 100, MARGIN = 28;
const lower = data.names.map((name) => name.toLowerCase());
let view = { x: 0, y: 0, zoom: 1 };  // shift in pixels, and how many times larger than all
let chosen = -1, hovered = -1, coloring = 0, hits = null;
const hidden = new Set();

// Names are only ever written as text, never as HTML.
function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Colors

const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];  // viridis
function ramp(share) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const at = (dark ? 0.25 + 0.75 * share : 0.9 * share) * (RAMP.length - 1);
  const low = Math.min(Math.floor(at), RAMP.length - 2);
  const mixed = RAMP[low].map((c, i) => Math.round(c + (RAMP[low + 1][i] - c) * (at - low)));
  return `rgb(${mixed.join(",")})`;
}
let colors = [];
function refreshColors() {
  const by = data.colorings[coloring];
  if (by.labels) {
    const table = by.labels.map((_, i) => (by.other === i ? css("--other") : css(`--c${i}`)));
    colors = by.values.map((value) => table[value]);
  } else {
    const span = by.high - by.low || 1;
    colors = by.values.map((v) => (v === null ? css("--other") : ramp((v - by.low) / span)));
  }
}
function shape(i) {
  const by = data.colorings[coloring];
  return by.labels && by.other !== by.values[i] ? by.values[i] % 4 : 0;
}
function visible(i) {
  const by = data.colorings[coloring];
  return !(by.labels && hidden.has(by.values[i])) && (hits === null || hits.has(i));
}

// The map

function place(i) {
  const width = canvas.clientWidth - 2 * MARGIN, height = canvas.clientHeight - 2 * MARGIN;
  return [
    MARGIN + data.x[i] * width * view.zoom + view.x,
    MARGIN + (1 - data.y[i]) * height * view.zoom + view.y,
  ];
}
function mark(context, kind, x, y, r) {
  context.beginPath();
  if (kind === 0) context.arc(x, y, r, 0, 2 * Math.PI);
  else if (kind === 1) context.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
  else if (kind === 2) polygon(context, [[x, y - 1.2 * r], [x + 1.1 * r, y + 0.8 * r], [x - 1.1 * r, y + 0.8 * r]]);
  else polygon(context, [[x, y - 1.3 * r], [x + 1.3 * r, y], [x, y + 1.3 * r], [x - 1.3 * r, y]]);
}
function polygon(context, corners) {
  corners.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.closePath();
}
function radius() {
  return Math.max(2, Math.min(8, 60 / Math.sqrt(n))) * Math.min(2, Math.sqrt(view.zoom));
}
let asked = false;
function draw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    paint();
  });
}
function paint() {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const r = radius();
  pen.globalAlpha = n > 2000 ? 0.7 : 0.9;
  for (let i = 0; i < n; i++) if (visible(i)) dot(i, r, width, height);
  pen.globalAlpha = 1;
  if (chosen >= 0) {
    pen.strokeStyle = css("--soft");
    pen.lineWidth = 1;
    const [x, y] = place(chosen);
    for (const [other] of data.neighbors[chosen] || []) {
      if (!visible(other)) continue;
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(...place(other));
      pen.stroke();
    }
    for (const [other] of data.neighbors[chosen] || []) if (visible(other)) dot(other, r, width, height);
  }
  for (const i of [hovered, chosen]) {
    if (i < 0) continue;
    dot(i, r + 2, width, height);
    pen.strokeStyle = css("--ring");
    pen.lineWidth = 2;
    mark(pen, shape(i), ...place(i), r + 4);
    pen.stroke();
  }
}
function dot(i, r, width, height) {
  const [x, y] = place(i);
  if (x < -r || y < -r || x > width + r || y > height + r) return;
  pen.fillStyle = colors[i];
  mark(pen, shape(i), x, y, r);
  pen.fill();
}
function nearest(x, y, reach) {
  let best = -1, least = reach * reach;
  for (let i = 0; i < n; i++) {
    if (!visible(i)) continue;
    const [px, py] = place(i), distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance <= least) [best, least] = [i, distance];
  }
  return best;
}
function zoomAt(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const zoom = Math.min(200, Math.max(0.5, view.zoom * factor)), share = zoom / view.zoom;
  view.x = x - MARGIN - (x - MARGIN - view.x) * share;
  view.y = y - MARGIN - (y - MARGIN - view.y) * share;
  view.zoom = zoom;
  draw();
}
function fit() {
  view = { x: 0, y: 0, zoom: 1 };
  draw();
}
function reveal(i) {
  const [x, y] = place(i), width = canvas.clientWidth, height = canvas.clientHeight;
  if (x < 10 || x > width - 10) view.x += width / 2 - x;
  if (y < 10 || y > height - 10) view.y += height / 2 - y;
}

// What is chosen

function choose(i, play) {
  chosen = i;
  const now = $("now");
  $("trouble").hidden = true;
  if (i < 0) {
    now.textContent = "Nothing is chosen yet.";
    $("audio").removeAttribute("src");
    $("audio").load();
  } else {
    const cut = data.names[i].lastIndexOf("/") + 1;
    now.textContent = data.names[i].slice(cut);
    now.append(element("span", facts(i)));
    $("audio").src = data.links[i];
    if (play) start();
    reveal(i);
  }
  fill();
  draw();
}
function facts(i) {
  const folder = data.names[i].slice(0, Math.max(0, data.names[i].lastIndexOf("/")));
  const values = data.colorings
    .filter((by) => by.name !== "folder")
    .map((by) => [by.name, by.texts ? by.texts[i] : by.values[i]])
    .filter(([, value]) => value !== null && value !== "")
    .map(([name, value]) => `${name}: ${value}`);
  return [folder, ...values].filter(Boolean).join(" · ");
}
function start() {
  $("audio").play().catch(() => {});  // where the browser wants a click first; errors are told below
}
$("audio").addEventListener("error", () => {
  if (chosen < 0 || !$("audio").getAttribute("src")) return;
  $("trouble").textContent = `Cannot be played here: ${data.names[chosen]}`;
  $("trouble").hidden = false;
});
function fill() {
  const list = $("list");
  let rows, title;
  if (hits !== null) {
    rows = [...hits].map((i) => [i, null]);
    title = `${rows.length} found`;
  } else if (chosen >= 0 && data.neighbors[chosen]) {
    rows = data.neighbors[chosen];
    title = "Most alike";
  } else {
    rows = data.names.map((_, i) => [i, null]);
    title = `${n} songs`;
  }
  $("list-title").textContent = title;
  list.replaceChildren(...rows.slice(0, MOST).map(([i, score]) => line(i, score)));
  $("more").hidden = rows.length <= MOST;
  $("more").textContent = `and ${rows.length - MOST} more`;
}
function line(i, score) {
  const item = element("li"), button = element("button", undefined, { type: "button", title: data.names[i] });
  const by = data.colorings[coloring];
  button.append(icon(colors[i], shape(i)));
  button.append(element("span", data.names[i].slice(data.names[i].lastIndexOf("/") + 1), { class: "name" }));
  if (score !== null) button.append(element("span", score.toFixed(2), { class: "score" }));
  if (i === chosen) button.setAttribute("aria-current", "true");
  button.addEventListener("click", () => choose(i, true));
  item.append(button);
  return item;
}
function icon(color, kind) {
  const made = element("canvas", undefined, { class: "mark", width: 24, height: 24, "aria-hidden": "true" });
  const context = made.getContext("2d");
  context.fillStyle = color;
  mark(context, kind, 12, 12, 8);
  context.fill();
  return made;
}
function legend() {
  const by = data.colorings[coloring], made = $("legend");
  made.replaceChildren();
  $("colors").hidden = Boolean(by.labels) && by.labels.length < 2;
  if (!by.labels) {
    const item = element("li", undefined, { class: "scale" }), bar = element("div"), ends = element("p");
    bar.style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map(ramp).join(",")})`;
    ends.append(element("span", String(by.low)), element("span", String(by.high)));
    item.append(bar, ends);
    made.append(item);
    return;
  }
  by.labels.forEach((label, i) => {
    const item = element("li");
    const button = element("button", undefined, { type: "button", "aria-pressed": String(!hidden.has(i)) });
    const color = by.other === i ? css("--other") : css(`--c${i}`);
    button.append(icon(color, by.other === i ? 0 : i % 4), element("span", `${label || "(none)"} (${by.counts[i]})`));
    button.addEventListener("click", () => {
      if (hidden.has(i)) hidden.delete(i);
      else hidden.add(i);
      button.setAttribute("aria-pressed", String(!hidden.has(i)));
      draw();
    });
    item.append(button);
    made.append(item);
  });
}

// Pointers

const pointers = new Map();
let moved = 0, spread = 0;
const at = (event) => {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, at(event));
  moved = 0;
  spread = 0;
});
canvas.addEventListener("pointermove", (event) => {
  const [x, y] = at(event), before = pointers.get(event.pointerId);
  if (!before) return hover(x, y);
  pointers.set(event.pointerId, [x, y]);
  moved += Math.abs(x - before[0]) + Math.abs(y - before[1]);
  if (pointers.size === 1) {
    view.x += x - before[0];
    view.y += y - before[1];
    draw();
  } else {
    const [one, two] = [...pointers.values()], wide = Math.hypot(one[0] - two[0], one[1] - two[1]);
    if (spread) zoomAt(wide / spread, (one[0] + two[0]) / 2, (one[1] + two[1]) / 2);
    spread = wide;
  }
});
for (const kind of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(kind, (event) => {
    const single = pointers.size === 1, [x, y] = at(event);
    pointers.delete(event.pointerId);
    spread = 0;
    if (kind !== "pointerup" || !single || moved > 6) return;
    const found = nearest(x, y, event.pointerType === "mouse" ? 14 : 24);
    if (found >= 0) choose(found, true);
  });
}
canvas.addEventListener("pointerleave", () => hover(-1e6, -1e6));
function hover(x, y) {
  const found = nearest(x, y, 14);
  if (found === hovered) return;
  hovered = found;
  const tip = $("tip");
  tip.hidden = found < 0;
  if (found >= 0) {
    const [px, py] = place(found);
    tip.textContent = data.names[found];
    tip.style.left = `${Math.max(4, Math.min(px + 12, canvas.clientWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${py + 16 + tip.offsetHeight > canvas.clientHeight ? py - 12 - tip.offsetHeight : py + 14}px`;
  }
  draw();
}
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomAt(Math.exp(-event.deltaY * 0.002), ...at(event));
}, { passive: false });

// Keys

const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
function step([dx, dy]) {
  if (chosen < 0) return choose(nearest(canvas.clientWidth / 2, canvas.clientHeight / 2, Infinity), false);
  const [x, y] = place(chosen);
  let best = -1, least = Infinity;
  for (let i = 0; i < n; i++) {
    if (i === chosen || !visible(i)) continue;
    const [px, py] = place(i), along = (px - x) * dx + (py - y) * dy;
    const across = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
    if (along <= 0 || across > 2 * along) continue;
    if (along + 2 * across < least) [best, least] = [i, along + 2 * across];
  }
  if (best >= 0) choose(best, false);
}
canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (WAYS[event.key]) step(WAYS[event.key]);
  else if (event.key === "Enter" || event.key === " ") {
    if (chosen < 0) return;
    if ($("audio").paused) start();
    else $("audio").pause();
  } else if (event.key === "+" || event.key === "=") zoomAt(1.5);
  else if (event.key === "-") zoomAt(1 / 1.5);
  else if (event.key === "0") fit();
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !(event.target instanceof HTMLInputElement)) {
    event.preventDefault();
    $("search").focus();
  } else if (event.key === "Escape") {
    $("search").value = "";
    search();
    choose(-1, false);
  }
});

// Controls

function search() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  hits = words.length ? new Set() : null;
  if (hits) lower.forEach((name, i) => words.every((word) => name.includes(word)) && hits.add(i));
  fill();
  draw();
}
$("search").addEventListener("input", search);
$("search").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && hits && hits.size) choose([...hits][0], true);
});
data.colorings.forEach((by, i) => $("color").append(element("option", by.name, { value: i })));
$("color").addEventListener("change", () => recolor(Number($("color").value)));
function recolor(i) {
  coloring = i;
  hidden.clear();
  refreshColors();
  legend();
  fill();
  draw();
}
$("in").addEventListener("click", () => zoomAt(1.5));
$("out").addEventListener("click", () => zoomAt(1 / 1.5));
$("fit").addEventListener("click", fit);
new ResizeObserver(draw).observe(canvas);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => recolor(coloring));
recolor(0);
