// An explorer: any column of a table over any other, as the same kind of plot.
const draw = (parent, tag, values = {}, text = "") => {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
  made.textContent = text;
  parent.append(made);
  return made;
};
const scale = (texts) => {
  const numbers = texts.map(number);
  const known = numbers.filter((value) => !Number.isNaN(value));
  if (!known.length || texts.some((text, k) => Number.isNaN(numbers[k]) && !/^[-–]?$/.test(text.trim()))) {
    const names = distinct(texts);
    const places = names.map((_, k) => k);
    return { names, of: [-0.5, names.length - 0.5], values: texts.map((text) => names.indexOf(text)), ticks: places };
  }
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const log = low > 0 && high >= 20 * low;
  const [from, to] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  const edge = 0.06 * (to - from) || Math.abs(to) * 0.1 || 1;
  const rough = (to - from || 2 * edge) / 4;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const step = log ? Math.max(1, Math.ceil(rough - 0.5)) : ten * [1, 2, 5, 10].find((k) => k * ten >= rough);
  const ticks = [];
  const power = (value) => Number((log ? 10 ** value : value).toPrecision(12));
  for (let k = Math.ceil((from - edge) / step); k * step <= to + edge; k += 1) ticks.push(power(k * step));
  return { log, of: [power(from - edge), power(to + edge)], values: numbers, ticks };
};

// How far each dot stands beside its place, so that those of one place and about one height don't hide each other.
const asides = (across, up, size, room) => {
  const placed = new Map();
  return across.map((x, k) => {
    if (!placed.has(x)) placed.set(x, []);
    const there = placed.get(x);
    const free = (aside) => there.every(([other, y]) => (other - aside) ** 2 + (y - up[k]) ** 2 > 4 * size ** 2);
    let aside = 0;
    for (let n = 1; !free(aside) && Math.abs(aside) < room; n += 1) aside = size * Math.ceil(n / 2) * (n % 2 ? 1 : -1);
    if (Math.abs(aside) >= room) aside = room ? ((7 * size * there.length) % (2 * room)) - room : 0; // there is no place
    there.push([aside, up[k]]);
    return aside;
  });
};

const explore = (table) => {
  const titles = [...table.tHead.rows[0].cells].map((title) => title.textContent);
  const rows = units(table).map((unit) => [...(unit.rows ? unit.rows[0] : unit).cells].map((own) => own.textContent));
  const varied = JSON.parse(table.dataset.explored);
  const box = make("div", "", { class: "explorer" });
  const choices = {};
  const metric = titles.slice(1).find((title) => !varied.includes(title));
  for (const [key, first] of [["x", varied[0]], ["y", metric], ["colour", varied[1] ?? varied[0]]]) {
    const label = make("label", `${key} `);
    const select = make("select");
    for (const title of titles) select.append(make("option", title, { value: title }));
    select.value = first;
    select.addEventListener("change", () => redraw());
    choices[key] = select;
    label.append(select);
    box.append(label, " ");
  }
  const column = (key) => rows.map((row) => row[titles.indexOf(choices[key].value)]);
  const redraw = () => {
    box.querySelector("svg")?.remove();
    const [x, y] = [scale(column("x")), scale(column("y"))];
    const [left, right, low, high] = [58, 380, 260, 14];
    const place = (axis, value, from, to) => {
      const [begin, end, at] = axis.log ? [...axis.of, value].map(Math.log10) : [...axis.of, value];
      return Number((from + ((at - begin) / (end - begin)) * (to - from)).toFixed(3));
    };
    const size = rows.length > 150 ? 2.6 : 4.5; // the radius of a dot
    const look = { class: "plot", viewBox: "0 0 520 310", role: "group", "aria-label": "the chosen columns" };
    const svg = draw(box, "svg", look);
    draw(draw(svg, "defs"), "circle", { id: "explored-dot", r: size });
    const word = (own, tick, most) => String(own.names ? own.names[tick] : tick).slice(0, most);
    for (const tick of x.ticks) {
      const at = place(x, tick, left, right);
      draw(svg, "path", { d: `M ${at} ${low} L ${at} ${high}`, class: "grid" });
      draw(svg, "text", { x: at, y: low + 16, "text-anchor": "middle" }, word(x, tick, 14));
    }
    for (const tick of y.ticks) {
      const at = place(y, tick, low, high);
      draw(svg, "path", { d: `M ${left} ${at} L ${right} ${at}`, class: "grid" });
      draw(svg, "text", { x: left - 6, y: at + 4, "text-anchor": "end" }, word(y, tick, 10));
    }
    draw(svg, "text", { x: (left + right) / 2, y: 304, "text-anchor": "middle" }, choices.x.value);
    const turned = `translate(12 ${(low + high) / 2}) rotate(-90)`;
    draw(svg, "text", { transform: turned, "text-anchor": "middle" }, choices.y.value);
    const axis = (own, at, key) =>
      JSON.stringify({ at, of: own.of, log: Boolean(own.log), label: own.names ? null : choices[key].value });
    const panel = draw(svg, "g", { "data-x": axis(x, [left, right], "x"), "data-y": axis(y, [low, high], "y") });
    const [across, up] = [x.values.map((v) => place(x, v, left, right)), y.values.map((v) => place(y, v, low, high))];
    const places = distinct(across.filter(Number.isFinite).map(String)).length;
    const aside = asides(across, up, size, places > 12 ? 0 : (0.4 * (right - left)) / places);
    const kinds = scale(column("colour"));
    const own = column("colour");
    const names = distinct(own).length <= 7 ? distinct(own) : null;
    const sets = [];
    (names ?? [choices.colour.value]).forEach((name, k) => {
      const group = draw(panel, "g", { "data-name": name, "data-points": sets.length, style: `fill: var(--c${k})` });
      const points = [];
      rows.forEach((row, at) => {
        if ((names && own[at] !== name) || Number.isNaN(x.values[at]) || Number.isNaN(y.values[at])) return;
        const dot = { x: across[at], y: up[at], href: "#explored-dot" };
        if (aside[at]) [dot["data-aside"], dot.transform] = [aside[at], `translate(${aside[at]} 0)`];
        if (!names && !kinds.names) {
          const share = Math.round(100 * (place(kinds, kinds.values[at], 0, 1) || 0));
          dot.style = `fill: color-mix(in oklab, var(--c1) ${share}%, var(--c0))`;
        }
        draw(group, "use", dot);
        const given = varied.map((title) => `${title}=${row[titles.indexOf(title)]}`);
        points.push(`${titles[0]} ${row[0]}: ${given.join(" ")}`);
      });
      sets.push(points);
      if (!names) return;
      draw(svg, "circle", { cx: 400, cy: 24 + 20 * k, r: 5, "data-entry": name, style: `fill: var(--c${k})` });
      draw(draw(svg, "g", { "data-entry": name }), "text", { x: 411, y: 28 + 20 * k }, name.slice(0, 16));
    });
    svg.dataset.sets = JSON.stringify(sets);
    answer(svg);
    legend(svg);
  };
  redraw();
  const pair = make("div", "", { class: "pair" });
  const ranked = make("div");
  table.closest(".wide").before(pair);
  ranked.append(...[pair.previousElementSibling].filter((own) => own.matches(".filter")), table.closest(".wide"));
  box.prepend(make("h3", "Any column over any other"));
  pair.append(ranked, box);
};
all("table[data-explored]").filter((table) => units(table).length > 1).forEach(explore);
