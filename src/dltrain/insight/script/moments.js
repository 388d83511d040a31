// Films, tables and pictures that move: a slider over the moments.
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
