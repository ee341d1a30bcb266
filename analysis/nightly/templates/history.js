"use strict";
// Draws the metrics of the chosen cell; the data are in the page.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const select = document.getElementById("cell"), charts = document.getElementById("charts");
  const WIDTH = 400, HEIGHT = 150, LEFT = 45, BOTTOM = 18;
  const cells = [...new Set(data.series.map((each) => each.cell))];
  const last = data.nights.length - 1;

  function element(name, attributes, parent, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.appendChild(made);
    return made;
  }

  function chart(series) {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    caption.textContent = `${series.title} (${series.unit})`;
    const known = series.means.map((value, place) => place).filter((place) => series.means[place] !== null);
    const low = (place) => series.lows[place] ?? series.means[place];
    const high = (place) => series.highs[place] ?? series.means[place];
    // The band of a noisy night must not flatten all others.
    const largest = 1.5 * Math.max(...known.map((place) => series.means[place]));
    const top = Math.min(Math.max(...known.map(high)), largest) * 1.02 || 1;
    const bottom = Math.min(...known.map(low)) * 0.98;
    const x = (place) => LEFT + (WIDTH - LEFT) * (last ? place / last : 0.5);
    const y = (value) => (HEIGHT - BOTTOM) * (1 - (Math.min(value, top) - bottom) / (top - bottom || 1));
    const svg = element("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": caption.textContent});
    for (const value of [bottom, (bottom + top) / 2, top]) {
      element("line", {class: "axis", x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value)}, svg);
      element("text", {x: LEFT - 4, y: y(value) + 3, "text-anchor": "end"}, svg, Number(value.toPrecision(3)));
    }
    data.nights.forEach((night, place) => {
      if (night.stack.length) element("line", {class: "stack", x1: x(place), x2: x(place), y1: 0, y2: HEIGHT - BOTTOM}, svg);
    });
    const points = (side) => known.map((place) => `${x(place).toFixed(1)},${y(side(place)).toFixed(1)}`);
    element("polygon", {class: "band", points: [...points(high), ...points(low).reverse()].join(" ")}, svg);
    element("polyline", {class: "mean", points: points((place) => series.means[place]).join(" ")}, svg);
    for (const place of series.changes ?? []) {
      element("line", {class: "change", x1: x(place), x2: x(place), y1: 0, y2: HEIGHT - BOTTOM}, svg);
    }
    for (const place of series.red) {
      if (series.means[place] !== null) element("circle", {class: "bad", cx: x(place), cy: y(series.means[place]), r: 3}, svg);
    }
    if (last >= 0) {
      element("text", {x: LEFT, y: HEIGHT - 4}, svg, data.nights[0].date.slice(0, 10));
      element("text", {x: WIDTH, y: HEIGHT - 4, "text-anchor": "end"}, svg, data.nights[last].date.slice(0, 10));
    }
    const told = document.createElement("div");
    told.textContent = "\u00a0";
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const share = ((event.clientX - box.left) / box.width * WIDTH - LEFT) / (WIDTH - LEFT);
      const place = Math.max(0, Math.min(last, Math.round(share * last)));
      const night = data.nights[place];
      const interval = series.lows[place] === null ? "" : ` [${series.lows[place]}, ${series.highs[place]}]`;
      told.textContent = [`${night.id}: ${series.means[place] ?? "not measured"}${interval}, ${night.verdict}`,
        ...night.stack].join("; ");
    });
    figure.append(caption, svg, told);
    return figure;
  }

  function draw() {
    charts.replaceChildren(...data.series.filter((each) => each.cell === select.value).map(chart));
  }

  for (const cell of cells) select.add(new Option(cell, cell));
  const worst = data.series.find((each) => each.red.includes(last));
  if (worst) select.value = worst.cell;
  select.addEventListener("change", draw);
  draw();
})();
