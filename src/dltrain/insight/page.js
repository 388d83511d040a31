// What a page answers with: curves under a finger, legends, sorted and filtered tables, films that stop.
// Everything that is said comes from the page itself, and is put back as text, never as markup.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (tag, text = "", values = {}) => {
    const made = document.createElement(tag);
    made.textContent = text;
    for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
    return made;
  };
  const pressed = (element, act) => {
    element.addEventListener("click", act);
    element.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      act(event);
    });
  };

  // -- tables: click a title to sort, type to filter ------------------------------------------------------------
  const number = (text) => {
    const found = /^\s*([-+−]?[\d,]*\.?\d+(?:e[-+]?\d+)?)\s*(%?)(?:\s*±.*)?\s*$/i.exec(text);
    return found ? Number(found[1].replace(/,/g, "").replace("−", "-")) : NaN;
  };
  const units = (table) => (table.tBodies.length > 1 ? [...table.tBodies] : [...table.tBodies[0].rows]);
  const cell = (unit, column) => (unit.rows ? unit.rows[0] : unit).cells[column].textContent;

  const sort = (table, column) => {
    const title = table.tHead.rows[0].cells[column];
    const sign = title.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    title.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const keyed = units(table).map((unit) => [cell(unit, column), unit]);
    keyed.sort(([a], [b]) => {
      const [x, y] = [number(a), number(b)];
      if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1; // what is no number stands last
      return sign * (Number.isNaN(x) ? a.localeCompare(b, undefined, { numeric: true }) : x - y);
    });
    const parent = keyed[0]?.[1].parentNode;
    parent?.append(...keyed.map(([, unit]) => unit));
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

  // -- plots: what is under the pointer, and legends that hide --------------------------------------------------
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
    let points = dots.map((dot) => [Number(dot.getAttribute("x")), Number(dot.getAttribute("y"))]);
    if (!points.length) {
      const lines = all("path", group).filter((path) => !path.closest("defs"));
      points = lines.flatMap((line) =>
        [...line.getAttribute("d").matchAll(/[ML] ?([-\d.]+) ([-\d.]+)/g)].map((found) => [Number(found[1]), Number(found[2])]),
      );
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
        one.points.forEach(([px, py], k) => {
          const far = (px - x) ** 2 + (py - y) ** 2;
          if (far < best.far && px >= left - 1 && px <= right + 1 && py >= high - 1 && py <= low + 1)
            best = { far, panel, one, px, py, k };
        });
      }
    }
    return best.one && best;
  };

  const words = ({ panel, one, px, py, k }) => {
    const lines = [one.names[k] ?? one.name];
    const say = (axis, place) => (axis.label ? `${axis.label} ` : "") + told(axis, place);
    if (panel.x.label) lines.push(say(panel.x, px));
    lines.push(say(panel.y, py));
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
      leave();
      if (!found) return;
      here.setAttribute("cx", found.px);
      here.setAttribute("cy", found.py);
      svg.append(here);
      if (found.panel.series.length > 2) {
        svg.classList.add("asked");
        found.one.group.classList.add("lit");
      }
      tip.textContent = words(found);
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
      const targets = all("[data-name]", svg).filter((group) => group.dataset.name === name);
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
    if (svg.querySelector("[data-name]")) answer(svg);
    legend(svg);
  }

  // -- films: a slider over the moments -------------------------------------------------------------------------
  for (const film of all(".film")) {
    const [last, ...first] = all("img", film); // the last one is what is seen without a script
    const frames = [...first, last];
    const wait = Number(film.dataset.wait);
    film.querySelector(".pause")?.remove();
    film.classList.add("led");
    const play = make("button", "play", { type: "button" });
    const slider = make("input", "", { type: "range", min: 0, max: frames.length - 1, "aria-label": "moment of the training" });
    const bar = make("div", "", { class: "bar" });
    let timer = 0;
    const show = (k) => {
      slider.value = k;
      frames.forEach((frame, at) => frame.classList.toggle("shown", at === Number(k)));
    };
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      play.textContent = "play";
    };
    const start = () => {
      if (Number(slider.value) === frames.length - 1) show(0);
      play.textContent = "pause";
      timer = setInterval(() => {
        show(Number(slider.value) + 1);
        if (Number(slider.value) === frames.length - 1) stop();
      }, wait);
    };
    play.addEventListener("click", () => (timer ? stop() : start()));
    slider.addEventListener("input", () => {
      stop();
      show(slider.value);
    });
    bar.append(play, slider);
    film.append(bar);
    show(frames.length - 1);
  }
})();
