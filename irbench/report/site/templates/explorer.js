"use strict";
// Two methods' results for the same queries. `explorer` (from the data set's own script) holds the data.

const COLUMNS = 64; // tiles in a row of the sheet
const STEP = 20; // queries that are added at a time
const SIGN = { relevant: "✓", other: "✗", none: "" };

const form = document.getElementById("choices");
const list = document.getElementById("queries");
const more = document.getElementById("more");

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function className(label) {
  return explorer.classes[label] ?? `class ${label}`;
}

function tile(number, label) {
  const made = element("span", "tile");
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", label);
  made.style.setProperty("--x", number % COLUMNS);
  made.style.setProperty("--y", Math.floor(number / COLUMNS));
  return made;
}

function retrieved(known) {
  const kind = known.missing ? "none" : known.relevant ? "relevant" : "other";
  const made = element("li", kind);
  if (known.tile != null) {
    const name = `gallery image ${known.row}${known.label == null ? "" : `, ${className(known.label)}`}`;
    made.append(tile(known.tile, name));
    made.title = name;
  }
  made.append(element("b", "", SIGN[kind]));
  if (known.label != null && !known.relevant) made.append(element("small", "", className(known.label)));
  if (known.path) made.append(element("small", "path", known.path));
  return made;
}

function line(method, index) {
  const swatch = element("i", "swatch");
  swatch.style.setProperty("--own", method.color);
  const found = element("ol", "found", ...method.lines[index].map(retrieved));
  return element("div", "line", element("span", "who", swatch, method.name), found);
}

function query(known, index, pair) {
  const words = element("div", "", `query ${known.row}`);
  if (known.label != null) words.append(element("small", "", className(known.label)));
  if (known.id != null) words.append(element("small", "id", known.id));
  const head = element("header", "", ...(known.tile != null ? [tile(known.tile, "the query")] : []), words);
  const lines = [...new Set(pair)].map((method) => line(method, index)); // one, where A and B are the same
  return element("article", "query", head, ...lines);
}

// which of two methods wins a query: by their hits among the results that are shown
function standing(a, b) {
  if (a === b) return a === 0 ? "fail" : "tie";
  return a > b ? "a" : "b";
}

function standings(pair) {
  const [a, b] = pair.map((method) => [...method.hits].map((digit) => parseInt(digit, 36)));
  return a.map((hits, place) => standing(hits, b[place]));
}

let waiting = []; // queries that match and are not drawn yet
let chosen = [];

function draw() {
  const pair = chosen;
  list.append(...waiting.splice(0, STEP).map((index) => query(explorer.queries[index], index, pair)));
  more.hidden = waiting.length === 0;
}

function update() {
  const choice = new FormData(form);
  chosen = [choice.get("a"), choice.get("b")].map((at) => explorer.methods[Number(at)]);
  const all = standings(chosen);
  for (const output of form.querySelectorAll("output")) {
    const kind = output.dataset.count;
    output.value = kind === "all" ? all.length : all.filter((one) => one === kind).length;
  }
  const show = choice.get("show");
  waiting = explorer.queries.map((_, index) => index);
  if (show !== "all") waiting = waiting.filter((index) => all[explorer.queries[index].place] === show);
  list.replaceChildren();
  if (!waiting.length) list.append(element("p", "gap", "None of the queries shown here is of this kind."));
  draw();
  history.replaceState(null, "", `#a=${choice.get("a")}&b=${choice.get("b")}&show=${show}`);
}

// a link to a choice: explore/digits.html#a=0&b=4&show=b
function restore() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const [name, value] of wanted) {
    const field = form.elements[name];
    if (field && [...(field.options ?? field)].some((one) => one.value === value)) field.value = value;
  }
}

if (typeof explorer !== "undefined") {
  restore();
  form.hidden = false;
  form.addEventListener("change", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", draw);
  update();
}
