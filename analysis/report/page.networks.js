// Networks: each has a page, at #network-ID.

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

// Letters keep their size: a narrow screen has narrow panels.
const width = () => Math.min(720, Math.max(300, innerWidth - 60));

// One panel: values over `xs`, which rise. A null is a gap.
function panel(svg, top, label, xs, lines, bounds, below) {
  const box = { left: 62, right: width() - 20, top: top + 24, bottom: top + 170 };
  const known = lines.flatMap((line) => line.values).filter((v) => v !== null);
  let [low, high] = bounds ?? [Math.min(...known), Math.max(...known)];
  if (!(high > low)) [low, high] = [low - 1, low + 1];
  const start = below === "N" ? xs[0] : 1, end = Math.max(xs[xs.length - 1], start + 1);
  const x = (at) => box.left + ((at - start) / (end - start)) * (box.right - box.left);
  const y = (v) => box.bottom - ((v - low) / (high - low)) * (box.bottom - box.top);
  svg.append(element("text", { x: 8, y: top + 14, class: "curve-text" }, label));
  for (const tick of ticks(low, high, 4, lines[0].steps ? 1 : 0)) {
    svg.append(element("line", { x1: box.left, x2: box.right, y1: y(tick), y2: y(tick), class: "curve-grid" }));
    svg.append(element("text", { x: box.left - 8, y: y(tick) + 4, "text-anchor": "end", class: "curve-text" }, tick));
  }
  for (const tick of ticks(start, end, width() / 80, 1)) {
    svg.append(element("line", { x1: x(tick), x2: x(tick), y1: box.bottom, y2: box.bottom + 4, class: "curve-axis" }));
    svg.append(element("text", { x: x(tick), y: box.bottom + 19, "text-anchor": "middle", class: "curve-text" }, tick));
  }
  svg.append(element("path", { d: `M${box.left} ${box.top}V${box.bottom}H${box.right}`, class: "curve-axis" }));
  for (const line of lines) {
    let d = "", pen = false;
    xs.forEach((at, i) => {
      const v = line.values[i];
      if (v === null) { pen = false; return; }
      const point = `${x(at).toFixed(1)} ${y(Math.min(high, Math.max(low, v))).toFixed(1)}`;
      d += pen ? (line.steps ? `H${x(at).toFixed(1)}V${point.split(" ")[1]}` : `L${point}`) : `M${point}`;
      pen = true;
    });
    if (xs.length === 1) d += "h3";
    svg.append(element("path", { d, class: line.second ? "curve-line second" : "curve-line" }));
  }
  if (below) svg.append(element("text", { x: (box.left + box.right) / 2, y: box.bottom + 38, "text-anchor": "middle", class: "curve-text" }, below));
}

function curve_of(curve, title) {
  const taus = curve.tau.some((v) => v !== null);
  const svg = element("svg", { viewBox: `0 0 ${width()} ${taus ? 650 : 440}`, role: "img", "aria-label": `Learning curve of ${title}: accuracy, N in training${taus ? " and mean tau" : ""} over epochs` });
  const floor = Math.min(0.5, ...curve.accuracy.filter((v) => v !== null));
  panel(svg, 0, "accuracy: newest head; mean (dashed)", curve.epoch, [{ values: curve.mean, second: true }, { values: curve.accuracy }], [Math.max(floor, -1), 1]);
  panel(svg, 205, "N in training", curve.epoch, [{ values: curve.n, steps: true }], null, taus ? "" : "epoch");
  if (taus) panel(svg, 410, "mean tau (time steps)", curve.epoch, [{ values: curve.tau }], null, "epoch");
  return svg;
}

function taus_of(taus, title) {
  const svg = element("svg", { viewBox: `0 0 ${width()} ${230 * taus.length}`, role: "img", "aria-label": `Taus of ${title} against N: ${taus.map((part) => part.words).join(", ")}` });
  taus.forEach((part, i) => panel(svg, 230 * i, part.words, part.n, [{ values: part.values }], null, "N"));
  return svg;
}

function titled(text) {
  const head = document.createElement("h3");
  head.textContent = text;
  return head;
}

function table_of(part) {
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const column of part.columns) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = column;
    head.append(cell);
  }
  const body = table.createTBody();
  for (const values of part.rows) {
    const row = body.insertRow();
    for (const value of values) row.insertCell().textContent = value ?? "\u2013";
  }
  return table;
}

// A network's page: its curve, its taus, and what was done to it.

function show(id) {
  const link = document.getElementById(`network-${id}`);
  if (!link) return;
  const title = `${id}: ${link.dataset.title}`, page = document.createElement("div");
  const { taus = [], hurt = [] } = data.pages[id] ?? {};
  if (data.curves[id]) page.append(titled("Learning curve"), curve_of(data.curves[id], title));
  if (taus.length) page.append(titled("Taus, when each N was solved"), taus_of(taus, title));
  for (const part of hurt) page.append(titled(part.words[0].toUpperCase() + part.words.slice(1)), table_of(part));
  open(title, page, false);
}

function follow() {
  const id = location.hash.startsWith("#network-") ? location.hash.slice("#network-".length) : "";
  if (dialog.open) dialog.close();
  if (id) show(id);
}
addEventListener("hashchange", follow);
dialog.addEventListener("close", () => {
  if (location.hash.startsWith("#network-")) history.replaceState(null, "", location.pathname + location.search);
});
follow();

for (const link of document.querySelectorAll("[data-network]")) {
  // A second time the address does not change.
  link.addEventListener("click", () => { if (location.hash === link.hash) show(link.dataset.network); });
  link.closest("tr").addEventListener("click", (event) => {
    if (!event.target.closest("a") && !getSelection().toString()) link.click();
  });
}
