"use strict";
// Makes the report interactive. All text from the records goes through textContent: nothing here makes markup.

const data = JSON.parse(document.getElementById("data").textContent);
const trials = new Map(data.trials.map((trial) => [`#trial=${trial.id}`, trial])); // by what follows in the address
const shown = { methods: new Set(data.methods), workloads: new Set(data.workloads) };
const drawn = new Map(); // element -> what vegaEmbed returned, to be ended before the next drawing
const stale = new Set(); // figures to draw when they come into view
const NARROW_PX = 640;
const UNITS = [["_mb_per_s", "MB/s"], ["_mbit_per_s", "Mbit/s"], ["_percent", "%"], ["_ms", "ms"], ["_us", "µs"], ["_mb", "MB"], ["_kb", "KB"], ["_mbit", "Mbit/s"], ["_s", "s"]];

function element(tag, text, ...children) {
  const made = document.createElement(tag);
  if (text !== null) made.textContent = text;
  made.append(...children);
  return made;
}

// Charts

// A row passes when the method and the workload that it names, if any, are chosen.
function passes(row) {
  // The space of no width marks a name that Vega could not stand.
  return (row.method == null || shown.methods.has(row.method.replace("\u200b", ""))) && (row.workload == null || shown.workloads.has(row.workload));
}

function fitted(spec, place) {
  const copy = structuredClone(spec);
  const room = place.clientWidth;
  const unit = copy.spec ?? copy;
  // What axes, their titles and the padding take beside the plot.
  unit.width = Math.max(220, Math.min(unit.width * 1.6, room - 110));
  if (room < NARROW_PX) copy.config.legend = { ...copy.config.legend, columns: 1 };
  return copy;
}

async function embed(place, spec, renderer) {
  drawn.get(place)?.finalize();
  const actions = { export: true, source: false, compiled: false, editor: false };
  // ast: expressions are interpreted, because the page's policy allows no code made of text.
  const result = await window.vegaEmbed(place, spec, { mode: "vega-lite", ast: true, renderer, actions });
  drawn.set(place, result);
}

async function drawFigure(figure) {
  stale.delete(figure);
  const charts = data.figures[figure.dataset.file];
  const place = figure.querySelector(".chart");
  const select = figure.querySelector("select");
  const isChosen = (workload) => (select ? workload === select.value : shown.workloads.has(workload));
  const chosen = charts.find((chart) => chart.workload === null || isChosen(chart.workload));
  const spec = chosen && fitted(chosen.spec, place);
  let rows = 0;
  for (const name of Object.keys(spec?.datasets ?? {})) {
    spec.datasets[name] = spec.datasets[name].filter(passes);
    rows += spec.datasets[name].filter((row) => row.method != null).length;
  }
  figure.querySelector(".subtitle").textContent = chosen ? chosen.subtitle : "";
  if (!rows) {
    drawn.get(place)?.finalize();
    drawn.delete(place);
    place.replaceChildren(element("p", "Nothing to draw of the chosen methods and workloads."));
    return;
  }
  // Thousands of points are faster on a canvas; few marks are sharper, and can be read aloud, as SVG.
  await embed(place, spec, rows > 1500 ? "canvas" : "svg");
}

function offerWorkloads(figure) {
  const charts = data.figures[figure.dataset.file].filter((chart) => chart.workload !== null);
  const select = figure.querySelector("select");
  if (!select) return;
  const before = select.value;
  const names = charts.map((chart) => chart.workload).filter((name) => shown.workloads.has(name));
  select.replaceChildren(...names.map((name) => element("option", name)));
  if (names.includes(before)) select.value = before;
  select.parentElement.hidden = names.length < 2;
}

const sight = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting && stale.has(entry.target)) drawFigure(entry.target);
}, { rootMargin: "300px" });

function redraw() {
  for (const figure of document.querySelectorAll("figure[data-file]")) {
    if (!data.figures[figure.dataset.file].length) continue; // it says why there is nothing to draw
    offerWorkloads(figure);
    stale.add(figure);
    sight.unobserve(figure);
    sight.observe(figure);
  }
}

// Filter

function applyFilter() {
  const boxes = [...document.querySelectorAll("#filter input")];
  for (const kind of ["methods", "workloads"]) {
    shown[kind] = new Set(boxes.filter((box) => box.name === kind && box.checked).map((box) => box.value));
  }
  let count = 0;
  for (const row of document.querySelectorAll("#trials tbody tr")) {
    row.hidden = !passes(row.dataset);
    count += !row.hidden;
  }
  for (const row of document.querySelectorAll("#table3 tbody tr")) row.hidden = !shown.methods.has(row.dataset.method);
  document.getElementById("count").textContent = `${count} of ${data.trials.length} trials shown.`;
  redraw();
}

// One trial

function label(key) {
  for (const [suffix, unit] of UNITS) {
    if (key.endsWith(suffix)) return `${key.slice(0, -suffix.length).replaceAll("_", " ")} (${unit})`;
  }
  return key.replaceAll("_", " ");
}

function written(value) {
  if (value === null) return "missing";
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(6)));
  return String(value);
}

function tree(value) {
  if (value === null || typeof value !== "object") return document.createTextNode(written(value));
  const entries = Object.entries(value);
  if (!entries.length) return document.createTextNode("none");
  const list = element("dl", null);
  list.className = "tree";
  for (const [key, each] of entries) list.append(element("dt", label(key)), element("dd", null, tree(each)));
  return list;
}

function part(title, ...children) {
  return element("section", null, element("h3", title), ...children);
}

function eventName(event) {
  const details = Object.values(event.data).filter((value) => typeof value !== "object").join(", ");
  return details ? `${event.name} ${details}` : event.name;
}

function eventTable(events) {
  const rows = [...events].sort((a, b) => (a.time_s ?? Infinity) - (b.time_s ?? Infinity)).map((event) => {
    const name = element("td", eventName(event));
    name.className = "text wrap";
    const host = element("td", event.host);
    host.className = "text";
    return element("tr", null, element("td", event.time_s === null ? "missing" : event.time_s.toFixed(4)), host, name);
  });
  const titles = ["Time (s)", "Host", "Event"].map((title, index) => {
    const cell = element("th", title);
    cell.scope = "col";
    cell.className = index ? "text" : "number";
    return cell;
  });
  const table = element("table", null, element("thead", null, element("tr", null, ...titles)), element("tbody", null, ...rows));
  const scroll = element("div", null, table);
  scroll.className = "scroll";
  return scroll;
}

function instruments(found) {
  return tree(Object.fromEntries(Object.entries(found).map(([name, each]) => [name, each.present ? each.values : `absent: ${each.reason}`])));
}

async function showTrial(trial) {
  const dialog = document.getElementById("trial");
  const valid = trial.validity.valid;
  document.getElementById("trial-title").textContent = trial.id;
  const state = element("p", valid ? "Valid." : `Not valid: ${trial.validity.reasons.join("; ")}`);
  state.className = valid ? "verdict" : "notice";
  const place = element("div", null);
  place.className = "chart";
  const columns = element(
    "div",
    null,
    part("Measurements", tree(trial.measurements)),
    part("Settings", tree(trial.settings)),
    part("Instruments", instruments(trial.instruments)),
    part("Provenance", tree({
      started_at: trial.started_at,
      ended_at: trial.ended_at,
      memory_verified: trial.memory_verified,
      clock_offset: trial.clock_offset,
      ...data.provenances[trial.provenance],
    })),
  );
  columns.className = "columns";
  document.getElementById("trial-body").replaceChildren(state, part("Throughput and events", place), part("Timeline of events", eventTable(trial.events)), columns);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  if (trial.curve === null) {
    place.textContent = "No usable telemetry.";
    return;
  }
  const spec = fitted(data.trial_spec, place);
  const end = trial.curve.at(-1)?.[0] ?? 0;
  spec.datasets = {
    samples: trial.curve.map(([time_s, mb_per_s]) => ({ time_s, mb_per_s })),
    events: trial.events
      .filter((event) => event.time_s !== null && event.time_s <= end)
      .map((event) => ({ time_s: event.time_s, host: event.host, event: eventName(event) })),
  };
  await embed(place, spec, "svg");
}

// #trial=ID in the address is a trial, so that it can be linked to and left with the browser's Back.
function followAddress() {
  const dialog = document.getElementById("trial");
  const trial = trials.get(location.hash);
  if (trial) showTrial(trial);
  else if (dialog.open) dialog.close();
}

document.getElementById("trial").addEventListener("close", () => {
  if (location.hash.startsWith("#trial=")) history.replaceState(null, "", location.pathname + location.search);
});
document.getElementById("trial-close").addEventListener("click", () => document.getElementById("trial").close());
document.getElementById("filter").addEventListener("change", applyFilter);
document.getElementById("filter").addEventListener("reset", () => setTimeout(applyFilter));
for (const select of document.querySelectorAll("figure select")) {
  select.addEventListener("change", () => drawFigure(select.closest("figure")));
}
let width = document.body.clientWidth;
let pause;
window.addEventListener("resize", () => {
  clearTimeout(pause);
  pause = setTimeout(() => {
    if (document.body.clientWidth === width) return;
    width = document.body.clientWidth;
    redraw();
  }, 200);
});
window.addEventListener("hashchange", followAddress);
document.documentElement.classList.add("scripted");
applyFilter();
followAddress();
