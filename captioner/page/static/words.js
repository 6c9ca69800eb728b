// A caption, word by word, and the others.
const caption = () => shown.captions[rank];

function showCaption() {
  const { text, words, confidence, first } = caption();
  const line = part("caption");
  line.replaceChildren();
  let at = 0;
  words.forEach((w, i) => {
    const found = text.indexOf(w.text, at);
    if (found >= 0) {
      line.append(text.slice(at, found));
      at = found + w.text.length;
    } else line.append(" ");
    line.append(make("button", {
      type: "button", class: "c-word", "data-word": i, style: `--p:${w.probability}`,
      "aria-label": `${w.text}, ${percent(w.probability)}`, title: percent(w.probability),
    }, w.text));
  });
  line.append(text.slice(at));
  part("strip").replaceChildren(...words.map((w, i) => make("button", {
    type: "button", class: "c-thumb", "data-word": i,
  }, ...(w.thumb ? [make("img", { src: w.thumb, alt: "Where the model looked for" })] : []),
  make("span", {}, w.text), make("small", {}, percent(w.probability)))));
  part("confidence").textContent = percent(confidence);
  part("meter").style.width = `${100 * confidence}%`;
  word = Math.min(first, Math.max(0, words.length - 1));
  choose(word);
  fetchAhead();
}

function showOthers() {
  part("others-box").hidden = shown.captions.length < 2;
  part("others-title").textContent = shown.sampled ? "Captions drawn at random" : "Captions from the search";
  part("others").replaceChildren(...shown.captions.map((c, i) => make("button", {
    type: "button", class: "c-other", "data-rank": i, "aria-pressed": String(i === 0),
  }, make("span", {}, c.text), make("small", {}, percent(c.confidence)))));
}

function choose(i, focus) {
  const { words } = caption();
  if (!words.length) { part("heat").hidden = true; part("now").textContent = ""; return; }
  word = (i + words.length) % words.length;
  for (const group of ["caption", "strip"]) {
    for (const button of part(group).querySelectorAll("[data-word]")) {
      const on = Number(button.dataset.word) === word;
      button.setAttribute("aria-pressed", String(on));
      button.tabIndex = on ? 0 : -1; // one stop for Tab; the arrows walk on
      if (on && focus === group) button.focus({ preventScroll: group === "caption" });
    }
  }
  const { text, probability } = words[word];
  part("now").replaceChildren(make("b", {}, text), ` was ${percent(probability)} likely, `
    + `word ${word + 1} of ${words.length}`);
  showHeat();
  if (part("layers").open) showHeads();
}

root.addEventListener("keydown", (event) => {
  const group = event.target.closest("[data-word]")?.parentElement.dataset.part;
  if (!group) return;
  const to = { ArrowLeft: word - 1, ArrowRight: word + 1, Home: 0, End: -1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  choose(to, group);
});
