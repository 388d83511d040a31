// Plots: what is under the pointer, and legends that hide.
const tip = make("div", "", { class: "tip", "aria-hidden": "true" });
tip.hidden = true;
document.body.append(tip);

const decimals = (digits) => Math.min(8, Math.max(0, Math.floor(digits)));
const told = (axis, place) => {
  const [from, to] = axis.at;
  const ends = axis.log ? axis.of.map(Math.log10) : axis.of;
  const value = ends[0] + ((place - from) / (to - from)) * (ends[1] - ends[0]);
  const fine = -Math.log10(Math.abs((ends[1] - ends[0]) / (to - from)) * 0.002); // of what a picture's digits hold
  if (axis.log) return String(Number((10 ** value).toPrecision(Math.min(5, Math.max(2, Math.floor(fine - 0.3))))));
  return axis.share ? `${(100 * value).toFixed(1)}%` : String(Number(value.toFixed(decimals(fine))));
};

const series = (group, sets) => {
  const dots = all("use", group).filter((dot) => !dot.closest("defs"));
  let points = dots.map((dot) => {
    const [x, y] = [Number(dot.getAttribute("x")), Number(dot.getAttribute("y"))];
    return [x + Number(dot.dataset.aside ?? 0), y, x]; // dots of one place stand side by side
  });
  if (!points.length) {
    const lines = all("path", group).filter((path) => !path.closest("defs"));
    const steps = lines.flatMap((line) => [...line.getAttribute("d").matchAll(/[ML] ?([-\d.]+) ([-\d.]+)/g)]);
    points = steps.map(([, x, y]) => [Number(x), Number(y)]);
  }
  return { group, points, name: group.dataset.name, names: sets[group.dataset.points] ?? [] };
};

const nearest = (panels, x, y) => {
  let best = { far: 24 ** 2 };
  for (const panel of panels) {
    const [[left, right], [low, high]] = [panel.x.at, panel.y.at];
    if (x < left - 8 || x > right + 8 || y < high - 8 || y > low + 8) continue;
    for (const one of panel.series) {
      if (one.group.style.display === "none") continue;
      one.points.forEach(([px, py, x0 = px], k) => {
        const far = (px - x) ** 2 + (py - y) ** 2;
        if (far < best.far && px >= left - 1 && px <= right + 1 && py >= high - 1 && py <= low + 1)
          best = { far, panel, one, px, py, x0, k };
      });
    }
  }
  return best.one && best;
};

const words = ({ panel, one, x0, py, k }) => {
  const lines = [one.names[k] ?? one.name];
  const say = (axis, place) => (axis.label === null ? "" : `${axis.label} ${told(axis, place)}`); // null: words are there
  lines.push(say(panel.x, x0), say(panel.y, py));
  return lines.filter(Boolean).join("\n");
};

const answer = (svg) => {
  const sets = JSON.parse(svg.dataset.sets ?? "[]");
  let panels = null;
  const here = document.createElementNS(SVG, "circle");
  here.setAttribute("class", "here");
  here.setAttribute("r", "4.5");
  const leave = () => {
    tip.hidden = true;
    here.remove();
    svg.classList.remove("asked");
    all(".lit", svg).forEach((group) => group.classList.remove("lit"));
  };
  const ask = (event) => {
    panels ??= all("[data-x]", svg).map((group) => ({
      x: JSON.parse(group.dataset.x),
      y: JSON.parse(group.dataset.y),
      series: all("[data-name]", group).map((one) => series(one, sets)),
    }));
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const found = nearest(panels, x, y);
    const shape = document.elementsFromPoint(event.clientX, event.clientY).find((own) => own.dataset.told);
    leave();
    if (!found && !shape) return;
    if (found) {
      here.setAttribute("cx", found.px);
      here.setAttribute("cy", found.py);
      svg.append(here);
      if (found.panel.series.length > 2) {
        svg.classList.add("asked");
        found.one.group.classList.add("lit");
      }
    }
    tip.textContent = found ? words(found) : shape.dataset.told;
    tip.hidden = false;
    const [width, height] = [tip.offsetWidth, tip.offsetHeight];
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, document.documentElement.clientWidth - width - 4))}px`;
    tip.style.top = `${event.clientY > height + 20 ? event.clientY - height - 12 : event.clientY + 18}px`;
  };
  svg.addEventListener("pointermove", ask);
  svg.addEventListener("pointerdown", ask);
  svg.addEventListener("pointerleave", leave);
};

const legend = (svg) => {
  for (const name of new Set(all("[data-entry]", svg).map((entry) => entry.dataset.entry))) {
    const own = (group) => (group.dataset.name ?? group.dataset.band) === name;
    const targets = all("[data-name], [data-band]", svg).filter(own);
    const entries = all("[data-entry]", svg).filter((entry) => entry.dataset.entry === name);
    if (!targets.length) continue;
    const button = entries.find((entry) => entry.querySelector("text")) ?? entries[0];
    button.setAttribute("role", "button");
    button.setAttribute("tabindex", "0");
    button.setAttribute("aria-pressed", "true");
    const toggle = () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      targets.forEach((group) => (group.style.display = shown ? "" : "none"));
      entries.forEach((entry) => entry.classList.toggle("off", !shown));
    };
    pressed(button, toggle);
    entries.filter((entry) => entry !== button).forEach((entry) => entry.addEventListener("click", toggle));
  }
};

for (const svg of all("svg.plot")) {
  for (const title of all("title", svg)) {
    if (!title.parentNode.dataset.name) title.parentNode.dataset.told = title.textContent; // a bar, a cell
    title.parentNode.setAttribute("aria-label", title.textContent);
    title.remove(); // else a browser says it beside us
  }
  if (svg.querySelector("[data-name], [data-told]")) answer(svg);
  legend(svg);
}
