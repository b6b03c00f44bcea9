"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const MOST = 10, CHUNK_SECONDS = 20;
const dim = numbers(data.center).length, center = numbers(data.center), scale = numbers(data.scale);
const units = numbers(data.units);
let session = null, busy = false, own = null;

function numbers(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}
// Names are only ever written as text, never as HTML.
function element(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}
const short = (name) => name.slice(name.lastIndexOf("/") + 1);
const breath = () => new Promise((next) => setTimeout(next));  // for the browser to draw

// The model

function script(address, integrity) {
  return new Promise((done, failed) => {
    const made = document.createElement("script");
    if (integrity) { made.integrity = integrity; made.crossOrigin = "anonymous"; }
    made.src = address;
    made.onload = done;
    made.onerror = () => failed(new Error(`${address} cannot be loaded`));
    document.head.append(made);
  });
}
async function load() {
  if (location.protocol === "file:") {
    throw new Error("browsers load a model only from a web server; in a folder above this page run "
      + "python -m http.server, and open http://localhost:8000/");
  }
  const base = new URL(data.runtime, location.href).href;
  await script(base + "ort.wasm.min.js", data.integrity);
  ort.env.wasm.wasmPaths = base;
  ort.env.wasm.numThreads = 1;  // more need headers that a plain server does not send
  const answer = await fetch("model.onnx");
  if (!answer.ok) throw new Error(`model.onnx cannot be loaded (${answer.status})`);
  return ort.InferenceSession.create(new Uint8Array(await answer.arrayBuffer()));
}

// A file to a vector

// Browsers resample what they decode, and roughly. They are asked for a rate that most music has already, or for one
// above it, and this filter does the rest: flat up to 0.91 of the new Nyquist frequency, -120 dB beyond it.
function lowpass(factor) {
  const half = Math.ceil(90 * factor), beta = 12.3, cut = 0.956 / factor;
  const bessel = (x) => {
    let sum = 1, term = 1;
    for (let k = 1; k < 60; k++) sum += (term *= (x / (2 * k)) ** 2);
    return sum;
  };
  return Float64Array.from({ length: half + 1 }, (_, i) => {  // its right half: it is symmetric
    const sinc = i ? Math.sin(Math.PI * cut * i) / (Math.PI * i) : cut;
    return sinc * bessel(beta * Math.sqrt(1 - (i / (half + 1)) ** 2)) / bessel(beta);
  });
}
function thin(samples, factor) {
  if (factor === 1) return samples;
  const taps = lowpass(factor), half = taps.length - 1;
  const padded = new Float32Array(samples.length + 2 * half);
  padded.set(samples, half);
  return Float32Array.from({ length: Math.ceil(samples.length / factor) }, (_, i) => {
    const at = i * factor + half;
    let sum = taps[0] * padded[at];
    for (let j = 1; j <= half; j++) sum += taps[j] * (padded[at - j] + padded[at + j]);
    return sum;
  });
}
async function decode(file) {
  const factor = Math.ceil(44100 / data.sampleRate);
  const context = new OfflineAudioContext(1, 1, data.sampleRate * factor);
  let audio;
  try {
    audio = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Error("this browser cannot decode it; is it music?");
  }
  const channels = Array.from({ length: audio.numberOfChannels }, (_, i) => audio.getChannelData(i));
  if (data.mono !== "mean") return thin(channels[Math.min(data.mono === "right" ? 1 : 0, channels.length - 1)], factor);
  const mono = new Float32Array(audio.length);
  for (const channel of channels) for (let i = 0; i < mono.length; i++) mono[i] += channel[i] / channels.length;
  return thin(mono, factor);
}
// The frames of the whole, in chunks that bring along what a frame hears.
async function* frames(mono, progress) {
  const { hop } = data, margin = Math.ceil(data.context / hop);
  const total = Math.ceil(mono.length / hop);
  const step = data.remembers ? total : Math.round(CHUNK_SECONDS * data.sampleRate / hop);
  for (let first = 0; first < total; first += step) {
    const count = Math.min(step, total - first), start = Math.max(0, first - margin);
    const part = mono.slice(start * hop, (first + count + margin) * hop);
    const found = await session.run({ audio: new ort.Tensor("float32", part, [1, part.length]) }, ["frames"]);
    const width = found.frames.dims[2];
    yield found.frames.data.subarray((first - start) * width, (first - start + count) * width);
    progress((first + count) / total);
    await breath();
  }
}
// Chan, Golub and LeVeque's merging is not needed: in 64 bits one pass loses nothing that counts.
async function pool(parts) {
  const width = data.pooling === "meanstd" ? dim / 2 : dim;
  const sum = new Float64Array(width), squares = new Float64Array(width), top = new Float64Array(width).fill(-Infinity);
  let count = 0;
  for await (const part of parts) {
    for (let at = 0; at < part.length; at += width, count++) {
      for (let j = 0; j < width; j++) {
        const value = part[at + j];
        sum[j] += value; squares[j] += value * value; if (value > top[j]) top[j] = value;
      }
    }
  }
  const mean = sum.map((x) => x / count);
  if (data.pooling === "max") return top;
  if (data.pooling === "mean") return mean;
  return [...mean, ...squares.map((x, j) => Math.sqrt(Math.max(0, x / count - mean[j] ** 2)))];
}
async function embed(file) {
  const mono = await decode(file);
  if (!mono.length) throw new Error("there are no samples in it");
  return pool(frames(mono, (share) => { $("progress").value = share; }));
}

// Vectors to songs

function similar(vector) {
  const query = Array.from({ length: dim }, (_, j) => (vector[j] - center[j]) * scale[j]);
  const length = Math.hypot(...query) || 1;
  const scores = data.names.map((_, i) => {
    let score = 0;
    for (let j = 0; j < dim; j++) score += units[i * dim + j] * query[j];
    return score / length;
  });
  return scores.map((score, i) => ({ i, score })).sort((a, b) => b.score - a.score).slice(0, MOST);
}
function play(name, address, row) {
  for (const other of document.querySelectorAll("#list button")) other.removeAttribute("aria-current");
  if (row) row.setAttribute("aria-current", "true");
  $("player").hidden = false;
  $("trouble").hidden = true;
  $("now").textContent = name;
  $("audio").src = address;
  if (row) $("audio").play().catch(() => {});
}
function show(file, found) {
  $("found-title").textContent = `Most like ${file.name}`;
  $("list").replaceChildren(...found.map(({ i, score }) => {
    const item = element("li"), row = element("button"), bar = element("span", undefined, "bar");
    row.type = "button";
    bar.style.width = `${100 * Math.max(0, score)}%`;
    row.append(bar, element("span", short(data.names[i]), "name"), element("span", score.toFixed(2), "score"));
    row.title = data.names[i];
    row.addEventListener("click", () => play(short(data.names[i]), data.links[i], row));
    item.append(row);
    return item;
  }));
  $("found").hidden = false;
}

// The page

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = false;
}
async function take(file) {
  if (busy || !file) return;
  busy = true;
  $("choose").disabled = true;
  $("trouble").hidden = $("found").hidden = $("player").hidden = true;
  $("status").textContent = `Listening to ${file.name} …`;
  $("progress").value = 0;
  $("progress").hidden = false;
  const before = performance.now();
  try {
    session ??= await load();
    const vector = await embed(file);
    show(file, similar(vector));
    if (own) URL.revokeObjectURL(own);
    own = URL.createObjectURL(file);
    play(file.name, own, null);
    $("status").textContent = `Heard in ${((performance.now() - before) / 1000).toFixed(1)} s.`;
    $("found-title").scrollIntoView({ block: "nearest" });
    return vector;
  } catch (error) {
    $("status").textContent = "";
    trouble(`${file.name}: ${error.message}`);
  } finally {
    busy = false;
    $("choose").disabled = false;
    $("progress").hidden = true;
  }
}
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => { take($("file").files[0]); $("file").value = ""; });
$("audio").addEventListener("error", () => {
  if ($("audio").src) trouble(`Cannot be played here: ${$("now").textContent}`);
});
addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  take(event.dataTransfer.files[0]);
});
