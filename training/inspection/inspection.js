const byId = id => document.getElementById(id);
const layer = byId("layer"), example = byId("example"), row = byId("row");
let chosen = null; // position of the element that is shown in the panel

const rounding = 1e-5; // of losses
const size = value => value < rounding ? "0" : value < 0.01 ? value.toPrecision(2) : value.toFixed(3);
const signed = value => (value < 0 ? "−" : "+") + size(Math.abs(value));
const visible = text => text.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, "·"); // control characters, such as separators
const shownText = text => text.trim() ? visible(text.trim()) : { " ": "space", "\n": "line break", "\t": "tab" }[text] || "?";

function make(parent, tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  parent.append(element);
  return element;
}

function state() {
  const it = found.examples[example.value], column = Number(layer.value);
  const flips = it.flips.filter(flip => flip.column === column);
  return { it, column, flips, flip: flips.find(flip => flip.position === chosen) };
}

function largest(flips) {
  return flips.reduce((a, b) => (a && Math.abs(a.gain) >= Math.abs(b.gain) ? a : b), null);
}

function show(element) {
  const { it, flips } = state();
  chosen = element !== undefined ? element : (largest(flips) || { position: 0 }).position;
  drawSummary(state());
  drawRow(state());
  drawPanel(state());
  drawScatter(state());
}

function drawSummary({ it, column, flips }) {
  const active = [...it.active[column]].filter(bit => bit === "1").length;
  const first = it.length > it.texts.length ? ` of the first ${it.texts.length}` : "";
  let text = `${active}${first || ` of ${it.length}`} elements activate it; ${flips.length} decisions were flipped. ` +
    `Loss of the row: ${it.row_loss.toFixed(2)} ${found.loss_unit}.`;
  if (it.label !== null) text += ` Class ${name(it.label)}, answered ${name(it.answer)}.`;
  byId("summary").textContent = text;
}

function name(label) { return found.classes[label] || String(label); }

function drawRow({ it, column, flips, flip }) {
  const flipped = new Set(flips.map(each => each.position));
  const changes = new Map(flip ? flip.changes : []);
  const most = Math.max(1e-9, ...[...changes.values()].map(Math.abs));
  const cells = it.texts.map((text, i) => {
    const cell = document.createElement("span");
    const classes = [];
    if (!it.shades) cell.textContent = text === "\n" ? "↵\n" : visible(text);
    else cell.style.setProperty("--shade", it.shades[i]);
    if (changes.has(i)) {
      classes.push(changes.get(i) > 0 ? "worse" : "better");
      cell.style.setProperty("--share", Math.abs(changes.get(i)) / most);
    } else if (it.active[column][i] === "1") {
      classes.push("on");
      cell.style.setProperty("--share", it.confidence[column][i]);
    }
    if (flipped.has(i)) {
      classes.push("flip");
      cell.tabIndex = 0;
      cell.setAttribute("role", "button");
    }
    if (i === chosen) classes.push("chosen");
    cell.className = classes.join(" ");
    cell.dataset.position = i;
    return cell;
  });
  row.className = it.shades ? "picture" : "";
  row.style.gridTemplateColumns = it.shades ? `repeat(${found.line}, 1fr)` : "";
  row.replaceChildren(...cells);
}

function drawPanel({ it, column, flip }) {
  const panel = byId("element");
  panel.replaceChildren();
  if (!it.texts.length) return;
  const about = [`Element ${chosen}`];
  if (!it.shades) about.push(`“${shownText(it.texts[chosen])}”`);
  if (it.roles) about.push(found.role_names[it.roles[chosen]]);
  if (it.needed) about.push(it.needed[chosen] ? "needed" : "not needed");
  make(panel, "p", about.join(", "));
  const active = it.active[column][chosen] === "1";
  make(panel, "p", `The router ${active ? "activates" : "skips"} it, with a confidence in activation of ` +
    `${it.confidence[column][chosen].toFixed(2)}.`);
  if (!flip) {
    make(panel, "p", "This decision was not flipped; the marked ones were.", "faint");
    return;
  }
  const change = flip.was_active ? flip.gain : -flip.gain;
  const said = make(panel, "p", `${flip.was_active ? "Skipped" : "Activated"} instead, the loss of the row changes by `);
  make(said, "b", `${signed(change)} ${found.loss_unit}`).id = "change";
  said.append(`: activation ${flip.gain > rounding ? "helps" : flip.gain < -rounding ? "hurts" : "changes nothing"}.`);
  if (flip.answer !== null && flip.answer !== it.answer) make(panel, "p", `The answer becomes ${name(flip.answer)}.`);
  if (!flip.changes.length) return;
  const where = make(panel, "p");
  make(where, "span", "worse", "key worse");
  where.append(" and ");
  make(where, "span", "better", "key better");
  where.append(` ${found.loss_place === "at" ? "elements" : "predictions"} are marked in the row. Largest changes:`);
  const top = [...flip.changes].sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 5);
  const shown = top.filter(([i]) => i < it.texts.length);
  make(panel, "p", shown.map(([i, more]) => `${found.loss_place} element ${i} “${shownText(it.texts[i])}” ${signed(more)}`).join("; "));
}

function drawScatter({ column }) {
  const svg = byId("scatter"), [width, height, left, bottom, top] = [360, 220, 54, 34, 8];
  svg.replaceChildren();
  const dots = found.examples.flatMap((it, number) =>
    it.flips.filter(flip => flip.column === column).map(flip => ({ ...flip, number })));
  const most = Math.max(1e-3, ...dots.map(dot => Math.abs(dot.gain)));
  // Gains differ by orders of magnitude: the axis is logarithmic beyond a hundredth of the largest.
  const scale = value => Math.asinh(100 * value / most) / Math.asinh(100);
  const sure = dots.map(dot => dot.confidence), low = Math.min(...sure, 1), high = Math.max(...sure, low + 0.01);
  const x = value => left + 8 + (value - low) / (high - low) * (width - left - 26);
  const y = value => top + (1 - scale(value)) / 2 * (height - top - bottom);
  const draw = (tag, values, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    svg.append(element);
    return element;
  };
  for (const value of [most, most / 10, 0, -most / 10, -most]) {
    draw("line", { x1: left, x2: width - 10, y1: y(value), y2: y(value) });
    draw("text", { x: left - 4, y: y(value) + 3, "text-anchor": "end" }, value === 0 ? "0" : value.toPrecision(2));
  }
  for (const value of [low, (low + high) / 2, high])
    draw("text", { x: x(value), y: height - 20, "text-anchor": "middle" }, value.toFixed(2));
  draw("text", { x: (left + width) / 2, y: height - 6, "text-anchor": "middle" }, `confidence; upwards: gain in ${found.loss_unit}`);
  const order = dots.sort((a, b) => (a.number == example.value) - (b.number == example.value));
  for (const dot of order) {
    const here = dot.number == example.value;
    const classes = [dot.was_active && "active", here && "here", here && dot.position === chosen && "chosen"];
    const circle = draw("circle", { cx: x(dot.confidence), cy: y(dot.gain), r: 4, class: classes.filter(Boolean).join(" ") });
    if (here) circle.addEventListener("click", () => show(dot.position));
  }
}

layer.addEventListener("change", () => show());
example.addEventListener("change", () => show());
row.addEventListener("click", event => {
  if (event.target.dataset.position !== undefined) show(Number(event.target.dataset.position));
});
row.addEventListener("keydown", event => {
  if ((event.key === "Enter" || event.key === " ") && event.target.dataset.position !== undefined) {
    event.preventDefault();
    show(Number(event.target.dataset.position));
    const cell = row.querySelector(".chosen");
    if (cell) cell.focus();
  }
});
const first = largest(found.examples[0].flips);
if (first) layer.value = first.column;
show();
