"use strict";
// Sorts tables and filters rows. Every page can be read without it.

function valueOf(cell) {
  const text = cell.dataset.value ?? cell.firstChild?.textContent?.trim() ?? "";
  const number = Number(text.replace(/[≈,]/g, ""));
  return text === "" || text === "—" ? null : Number.isNaN(number) ? cell.textContent.trim().toLowerCase() : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function sort(table, column, descending) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [valueOf(row.cells[column]), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null); // gaps stay last
    return descending ? compare(b, a) : compare(a, b);
  });
  body.append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      // numbers begin with the largest; a second click turns the order round
      const order = head.getAttribute("aria-sort");
      const descending = order ? order === "ascending" : head.classList.contains("n");
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sort(table, head.cellIndex, descending);
    });
  }
}

// of several tables one is shown: that which is chosen, or which the address names
for (const group of document.querySelectorAll(".tables")) {
  const selector = group.querySelector(".selector");
  const select = selector.querySelector("select");
  const show = () => {
    for (const section of group.querySelectorAll(":scope > section")) section.hidden = section.id !== select.value;
  };
  const follow = () => {
    const wanted = decodeURIComponent(location.hash.slice(1));
    if ([...select.options].some((one) => one.value === wanted)) select.value = wanted;
    show();
  };
  selector.hidden = select.options.length < 2;
  select.addEventListener("change", () => {
    history.replaceState(null, "", `#${select.value}`);
    show();
  });
  window.addEventListener("hashchange", follow);
  follow();
}

for (const input of document.querySelectorAll("input[data-filters]")) {
  const body = document.getElementById(input.dataset.filters).tBodies[0];
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
}

// one menu at a time, and none once something else is clicked
const menus = [...document.querySelectorAll("details.menu")];
document.addEventListener("click", (event) => {
  for (const menu of menus) if (!menu.contains(event.target)) menu.open = false;
});
