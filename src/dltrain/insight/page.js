// What a page answers with: curves under a finger, legends, sorted and filtered tables, films that stop, sliders.
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
  const order = (a, b) => {
    const [x, y] = [number(a), number(b)]; // what is no number stands last
    if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
    return Number.isNaN(x) ? a.localeCompare(b) : x - y;
  };
  const distinct = (texts) => [...new Set(texts)].sort(order);
  const units = (table) => (table.tBodies.length > 1 ? [...table.tBodies] : [...table.tBodies[0].rows]);
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
    const say = (axis, place) => (axis.label === null ? "" : `${axis.label} ${told(axis, place)}`); // null: words are there
    lines.push(say(panel.x, px), say(panel.y, py));
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

  // -- an explorer: any column of a table over any other, as the same kind of plot ------------------------------
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

  const explore = (table) => {
    const titles = [...table.tHead.rows[0].cells].map((title) => title.textContent);
    const rows = units(table).map((unit) => [...(unit.rows ? unit.rows[0] : unit).cells].map((own) => own.textContent));
    const varied = JSON.parse(table.dataset.explored);
    const box = make("div", "", { class: "explorer" });
    const choices = {};
    for (const [key, first] of [["x", varied[0]], ["y", titles[1]], ["colour", varied[1] ?? varied[0]]]) {
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
      const look = { class: "plot", viewBox: "0 0 520 310", role: "group", "aria-label": "the chosen columns" };
      const svg = draw(box, "svg", look);
      draw(draw(svg, "defs"), "circle", { id: "explored-dot", r: 4.5 });
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
      const kinds = scale(column("colour"));
      const own = column("colour");
      const names = distinct(own).length <= 7 ? distinct(own) : null;
      const sets = [];
      (names ?? [choices.colour.value]).forEach((name, k) => {
        const group = draw(panel, "g", { "data-name": name, "data-points": sets.length, style: `fill: var(--c${k})` });
        const points = [];
        rows.forEach((row, at) => {
          if ((names && own[at] !== name) || Number.isNaN(x.values[at]) || Number.isNaN(y.values[at])) return;
          const [across, up] = [place(x, x.values[at], left, right), place(y, y.values[at], low, high)];
          const dot = { x: across, y: up, href: "#explored-dot" };
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

  // -- films, tables and pictures that move: a slider over the moments --------------------------------------------
  const lead = (count, wait, show, names = []) => {
    const play = make("button", "play", { type: "button" });
    const slider = make("input", "", { type: "range", min: 0, max: count - 1, "aria-label": "moment of the training" });
    const bar = make("div", "", { class: "bar" });
    let timer = 0;
    const go = (k) => {
      slider.value = k;
      if (names[k]) slider.setAttribute("aria-valuetext", names[k]);
      show(Number(k));
    };
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      play.textContent = "play";
    };
    const start = () => {
      if (Number(slider.value) === count - 1) go(0);
      play.textContent = "pause";
      timer = setInterval(() => {
        go(Number(slider.value) + 1);
        if (Number(slider.value) === count - 1) stop();
      }, wait);
    };
    play.addEventListener("click", () => (timer ? stop() : start()));
    slider.addEventListener("input", () => {
      stop();
      go(slider.value);
    });
    bar.append(play, slider);
    go(count - 1);
    return bar;
  };

  for (const film of all(".film")) {
    const [last, ...first] = all("img", film); // the last one is what is seen without a script
    const frames = [...first, last];
    film.querySelector(".pause")?.remove();
    film.classList.add("led");
    const show = (k) => frames.forEach((frame, at) => frame.classList.toggle("shown", at === k));
    film.append(lead(frames.length, Number(film.dataset.wait), show));
  }

  for (const box of all(".moments")) {
    const names = JSON.parse(box.dataset.names);
    const moving = all("[data-moves]", box).map((own) => {
      const cells = all("td:not(thead *)", own);
      return [cells.length ? cells : [own], JSON.parse(own.dataset.moves)];
    });
    const show = (k) => {
      box.querySelector("output").textContent = names[k];
      for (const [cells, moves] of moving) {
        const [texts, shares] = moves[k];
        cells.forEach((own, at) => {
          own.textContent = texts[at];
          own.classList.toggle("more", shares[at] > 0);
          own.classList.toggle("less", shares[at] < 0);
          own.style.setProperty("--share", Math.abs(shares[at]) / 100);
        });
      }
      for (const image of all("image", box)) image.setAttribute("y", -k * image.getAttribute("data-height"));
    };
    box.querySelector(".moment").before(lead(names.length, 500, show, names));
  }
})();
