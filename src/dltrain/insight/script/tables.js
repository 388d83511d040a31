// Tables: click a title to sort, type to filter.
const number = (text) => {
  const found = /^\s*([-+−]?[\d,]*\.?\d+(?:e[-+]?\d+)?)\s*(%?)(?:\s*±.*)?\s*$/i.exec(text);
  return found ? Number(found[1].replace(/,/g, "").replace("−", "-")) : NaN;
};
const order = (a, b) => {
  const [x, y] = [number(a), number(b)]; // what is no number stands last
  if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
  return Number.isNaN(x) ? a.localeCompare(b) : x - y;
};
const distinct = (texts) => [...new Set(texts)].sort(order);
const units = (table) => { // rows, or each row with what is folded below it
  const several = table.tBodies.length > 1 || table.querySelector(":scope > tbody > .more");
  return several ? [...table.tBodies] : [...table.tBodies[0].rows];
};
const cell = (unit, column) => (unit.rows ? unit.rows[0] : unit).cells[column].textContent;

const sort = (table, column) => {
  const title = table.tHead.rows[0].cells[column];
  const sign = title.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  title.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  const keyed = units(table).map((unit) => [cell(unit, column), unit]);
  keyed.sort(([a], [b]) => (Number.isNaN(number(a)) === Number.isNaN(number(b)) ? sign : 1) * order(a, b));
  keyed[0]?.[1].parentNode.append(...keyed.map(([, unit]) => unit));
};

const filter = (table, text, told) => {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  for (const unit of units(table)) {
    const own = unit.textContent.toLowerCase();
    unit.hidden = !words.every((word) => own.includes(word));
    left += !unit.hidden;
  }
  told.textContent = words.length ? `${left} of ${units(table).length}` : "";
};

const reached = new ResizeObserver((seen) => { // by keys, too, where there is more to the side
  for (const { target } of seen) target.tabIndex = target.scrollWidth > target.clientWidth ? 0 : -1;
});
all(".wide, pre").forEach((box) => reached.observe(box));

for (const table of all("table.data")) {
  [...table.tHead.rows[0].cells].forEach((title, column) => {
    title.tabIndex = 0;
    title.title = "sort by this column";
    pressed(title, () => sort(table, column));
  });
  if (units(table).length <= 8) continue;
  const box = make("p", "", { class: "filter" });
  const label = make("label", "filter ");
  const input = make("input", "", { type: "search", autocomplete: "off", spellcheck: "false" });
  const told = make("output", "", { "aria-live": "polite" });
  input.addEventListener("input", () => filter(table, input.value, told));
  label.append(input);
  box.append(label, " ", told);
  table.closest(".wide").before(box);
}
