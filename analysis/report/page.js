"use strict";
// Tables sort, figures zoom, learning curves open. Without this script everything else is still there.

const dialog = document.getElementById("viewer");
const shown = dialog.querySelector(".shown");
const heading = dialog.querySelector("h2");
const zoomButtons = dialog.querySelectorAll("[data-zoom]");

function open(title, content, zooms) {
  heading.textContent = title;
  shown.replaceChildren(content);
  for (const button of zoomButtons) button.hidden = !zooms;
  dialog.showModal();
  shown.scrollTo(0, 0);
}

dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // the backdrop
});

// Figures.

let scale = 1;

function zoom(factor) {
  scale = factor === 0 ? 1 : Math.min(8, Math.max(1, scale * factor));
  const image = shown.querySelector("img");
  if (image) image.style.width = `${100 * scale}%`;
}

for (const button of zoomButtons) button.addEventListener("click", () => zoom(Number(button.dataset.zoom)));
dialog.addEventListener("keydown", (event) => {
  if (zoomButtons[0].hidden) return;
  if (event.key === "+" || event.key === "=") zoom(1.5);
  if (event.key === "-") zoom(1 / 1.5);
  if (event.key === "0") zoom(0);
});
for (const button of document.querySelectorAll(".zoom")) {
  button.addEventListener("click", () => {
    const image = button.querySelector("img").cloneNode();
    image.addEventListener("click", () => zoom(scale > 1 ? 0 : 2));
    open(button.dataset.title, image, true);
    // On a narrow screen a figure begins at the size its letters are meant for.
    scale = Math.max(1, Number(image.getAttribute("width")) / shown.clientWidth);
    zoom(1);
  });
}

// Tables.

function value(row, column) {
  const cell = row.cells[column];
  return cell.dataset.value ?? cell.textContent.trim();
}

function compare(a, b) {
  if (a === "" || b === "") return (a === "") - (b === ""); // what is missing comes last
  const x = Number(a), y = Number(b);
  if (!Number.isNaN(x) && !Number.isNaN(y)) return x - y;
  return a.localeCompare(b, "en", { numeric: true });
}

for (const header of document.querySelectorAll("table.sorts thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...header.childNodes);
  header.append(button);
  button.addEventListener("click", () => {
    const table = header.closest("table");
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const column = header.cellIndex;
    const missing = (row) => value(row, column) === "";
    const rows = [...body.rows].sort((a, b) => {
      const order = compare(value(a, column), value(b, column));
      return down && !missing(a) && !missing(b) ? -order : order;
    });
    body.append(...rows);
  });
}

// Claims: filters.

const filters = document.getElementById("filters");
const claims = [...document.querySelectorAll("tr.claim")];

function filter() {
  const verdicts = new Set();
  for (const button of filters.querySelectorAll("[aria-pressed=true]")) verdicts.add(button.dataset.verdict);
  const chosen = (name) => filters.querySelector(`[data-filter=${name}]`).value;
  const [figure, task, part] = ["figure", "task", "part"].map(chosen);
  const words = filters.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of claims) {
    const text = words.length ? row.parentElement.rows[0].textContent + row.textContent : "";
    row.hidden = !(verdicts.has(row.dataset.verdict) &&
      (!figure || row.parentElement.id === figure) &&
      (!task || !row.dataset.task || row.dataset.task.split(", ").includes(task)) &&
      (!part || !row.dataset.part || row.dataset.part === part) &&
      words.every((word) => text.toLowerCase().includes(word)));
    count += !row.hidden;
  }
  for (const body of new Set(claims.map((row) => row.parentElement))) {
    body.hidden = [...body.rows].slice(1).every((row) => row.hidden);
  }
  filters.querySelector("output").textContent = `${count} of ${claims.length} shown`;
}

function showAll() {
  for (const button of filters.querySelectorAll("[aria-pressed]")) button.setAttribute("aria-pressed", "true");
  for (const control of filters.querySelectorAll("select, input")) control.value = "";
  filter();
}

if (filters) {
  filters.hidden = false;
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", (event) => { event.preventDefault(); showAll(); });
  filters.addEventListener("input", filter);
  for (const button of filters.querySelectorAll("[aria-pressed]")) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      filter();
    });
  }
  // What was not run is listed on request, where anything was.
  if (claims.some((row) => row.dataset.verdict !== "not run")) {
    filters.querySelector("[data-verdict='not run']").setAttribute("aria-pressed", "false");
  }
  filter();
}

// Contents: where the reader is; what a link leads to is opened.

const places = new Map();
for (const link of document.querySelectorAll("nav > ul > li > a")) {
  const target = document.getElementById(link.hash.slice(1));
  if (target) places.set(target.closest("section"), link);
}
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const link = places.get(entry.target);
    if (entry.isIntersecting) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}, { rootMargin: "-20% 0px -75% 0px" });
for (const section of places.keys()) watcher.observe(section);

function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const closed = target?.closest("details:not([open]), [hidden]");
  if (!closed) return;
  if (closed.hidden) showAll();
  else closed.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);
reveal();

// Learning curves.

const curves = JSON.parse(document.getElementById("curves").textContent);
const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, setting] of Object.entries(attributes)) node.setAttribute(key, setting);
  if (text !== undefined) node.textContent = text;
  return node;
}

function ticks(low, high, count, least = 0) {
  const rough = Math.max((high - low) / count, least) || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-6; tick += step) found.push(Number(tick.toPrecision(6)));
  return found;
}

// One panel: values over epochs. A null is a gap.
function panel(svg, top, label, epochs, lines, bounds, last) {
  const box = { left: 62, right: 700, top: top + 24, bottom: top + 170 };
  const known = lines.flatMap((line) => line.values).filter((v) => v !== null);
  let [low, high] = bounds ?? [Math.min(...known), Math.max(...known)];
  if (!(high > low)) [low, high] = [low - 1, low + 1];
  const end = Math.max(epochs[epochs.length - 1], 2);
  const x = (epoch) => box.left + ((epoch - 1) / (end - 1)) * (box.right - box.left);
  const y = (v) => box.bottom - ((v - low) / (high - low)) * (box.bottom - box.top);
  svg.append(element("text", { x: 8, y: top + 14, class: "curve-text" }, label));
  for (const tick of ticks(low, high, 4, lines[0].steps ? 1 : 0)) {
    svg.append(element("line", { x1: box.left, x2: box.right, y1: y(tick), y2: y(tick), class: "curve-grid" }));
    svg.append(element("text", { x: box.left - 8, y: y(tick) + 4, "text-anchor": "end", class: "curve-text" }, tick));
  }
  for (const tick of ticks(1, end, 8, 1)) {
    svg.append(element("line", { x1: x(tick), x2: x(tick), y1: box.bottom, y2: box.bottom + 4, class: "curve-axis" }));
    svg.append(element("text", { x: x(tick), y: box.bottom + 19, "text-anchor": "middle", class: "curve-text" }, tick));
  }
  svg.append(element("path", { d: `M${box.left} ${box.top}V${box.bottom}H${box.right}`, class: "curve-axis" }));
  for (const line of lines) {
    let d = "", pen = false;
    epochs.forEach((epoch, i) => {
      const v = line.values[i];
      if (v === null) { pen = false; return; }
      const at = `${x(epoch).toFixed(1)} ${y(Math.min(high, Math.max(low, v))).toFixed(1)}`;
      d += pen ? (line.steps ? `H${x(epoch).toFixed(1)}V${at.split(" ")[1]}` : `L${at}`) : `M${at}`;
      pen = true;
    });
    if (epochs.length === 1) d += "h3";
    svg.append(element("path", { d, class: line.second ? "curve-line second" : "curve-line" }));
  }
  if (last) svg.append(element("text", { x: (box.left + box.right) / 2, y: box.bottom + 38, "text-anchor": "middle", class: "curve-text" }, "epoch"));
}

function draw(curve, title) {
  const taus = curve.tau.some((v) => v !== null);
  const svg = element("svg", { viewBox: `0 0 720 ${taus ? 650 : 440}`, role: "img", "aria-label": `Learning curve of ${title}: accuracy, N in training${taus ? " and mean tau" : ""} over epochs` });
  const floor = Math.min(0.5, ...curve.accuracy.filter((v) => v !== null));
  panel(svg, 0, "accuracy of the newest head (solid) and mean over heads (dashed)", curve.epoch, [{ values: curve.mean, second: true }, { values: curve.accuracy }], [Math.max(floor, -1), 1]);
  panel(svg, 205, "N in training", curve.epoch, [{ values: curve.n, steps: true }], null, !taus);
  if (taus) panel(svg, 410, "mean tau (time steps)", curve.epoch, [{ values: curve.tau }], null, true);
  return svg;
}

for (const button of document.querySelectorAll("[data-network]")) {
  const show = () => {
    const curve = curves[button.dataset.network];
    const title = `${button.dataset.network}: ${button.dataset.title}`;
    if (curve) open(title, draw(curve, title), false);
  };
  button.addEventListener("click", show);
  button.closest("tr").addEventListener("click", (event) => {
    if (!event.target.closest("button, a") && !getSelection().toString()) show();
  });
}
