"use strict";
// Tables sort, claims filter, figures zoom and can be saved, networks open. Without this script everything else is still there.

const data = JSON.parse(document.getElementById("data").textContent);
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

// Downloads, and copies.

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// On white paper, three pixels for each of the screen's.
function png(image, done) {
  const canvas = document.createElement("canvas");
  canvas.width = 3 * Number(image.getAttribute("width"));
  canvas.height = 3 * Number(image.getAttribute("height"));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob(done, "image/png");
}

for (const button of document.querySelectorAll("[data-form]")) {
  button.parentElement.hidden = false;
  button.addEventListener("click", () => {
    const { form, figure } = button.dataset, name = `${figure}.${form}`;
    const image = button.closest("figure").querySelector("img");
    if (form === "csv") save(new Blob([data.csv[figure]], { type: "text/csv" }), name);
    else if (form === "png") png(image, (blob) => save(blob, name));
    else save(new Blob([atob(image.src.split(",")[1])], { type: "image/svg+xml" }), name);
  });
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // a page that was opened as a file may not, in some browsers
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

for (const button of document.querySelectorAll(".copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const done = await copy(button.parentElement.querySelector("code").textContent);
    button.textContent = done ? "Copied" : "Not copied";
    button.focus();
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
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
  const quiet = filters.querySelector("[data-quiet]");
  if (claims.some((row) => row.dataset.verdict !== quiet.dataset.verdict)) quiet.setAttribute("aria-pressed", "false");
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

