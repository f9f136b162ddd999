// Learning curves.

const { curves } = data;
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
