"use strict";
document.documentElement.classList.add("js");

const opacity = document.getElementById("opacity");
if (opacity) {
  const show = () => document.documentElement.style.setProperty("--opacity", opacity.value / 100);
  opacity.addEventListener("input", show);
  show();
}

const isTyping = (event) => event.target.matches?.("input[type=text], textarea");
addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() === "h" && !event.ctrlKey && !event.metaKey && !event.altKey && !isTyping(event))
    document.body.classList.add("no-classes");
});
for (const name of ["keyup", "blur"]) addEventListener(name, () => document.body.classList.remove("no-classes"));

function sort(button) {
  const header = button.closest("th"), body = header.closest("table").tBodies[0];
  const column = header.cellIndex, isUp = header.getAttribute("aria-sort") !== "ascending";
  const value = (row) => row.cells[column].dataset.value ?? "";
  const rows = [...body.rows].map((row, place) => [row, value(row), place]);
  const isNumeric = header.dataset.kind === "number";
  rows.sort(([, a, i], [, b, j]) => {
    if (a === "" || b === "") return a === b ? i - j : a === "" ? 1 : -1; // what has no value is last
    const order = isNumeric ? a - b : a.localeCompare(b, "en", { numeric: true });
    return (isUp ? order : -order) || i - j;
  });
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", isUp ? "ascending" : "descending");
  body.append(...rows.map(([row]) => row));
}
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => sort(button));

function reveal(id) {
  const target = id ? document.getElementById(id) : null;
  if (target?.matches("details")) target.open = true;
  target?.scrollIntoView();
}
addEventListener("hashchange", () => reveal(location.hash.slice(1)));
reveal(location.hash.slice(1));
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));

for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", () => {
    const path = button.previousElementSibling, selection = getSelection();
    selection.selectAllChildren(path);
    document.execCommand("copy");
    selection.removeAllRanges();
    button.textContent = "Copied";
  });
}
