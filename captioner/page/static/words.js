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
    const likely = percent(w.probability) + (w.given ? ", given by you" : "")
      + (w.doubtful ? ", may not be on the photo" : "");
    line.append(make("button", {
      type: "button", "data-word": i,
      class: `c-word${w.given ? " c-given" : ""}${w.doubtful ? " c-doubtful" : ""}`,
      style: `--p:${w.probability}`, "aria-label": `${w.text}, ${likely}`, title: likely,
    }, w.text));
  });
  line.append(text.slice(at));
  part("doubt").hidden = !words.some((w) => w.doubtful);
  part("kinds").hidden = kinds().length < 2;
  part("nomaps").hidden = kinds().length > 0;
  part("unseen").hidden = !caption().unseen || !kinds().length;
  part("strip").replaceChildren(...words.map((w, i) => make("button", {
    type: "button", class: "c-thumb", "data-word": i,
  }, ...(w.thumb ? [make("img", { src: w.thumb, alt: "" })] : []),
  make("span", { class: w.doubtful ? "c-doubtful" : "" }, w.text),
  make("small", {}, percent(w.probability) + (w.given ? ", given" : "") + (w.doubtful ? ", doubtful" : "")))));
  showThumbs();
  part("confidence").textContent = percent(confidence);
  part("meter").style.width = `${100 * confidence}%`;
  word = Math.min(first, Math.max(0, words.length - 1));
  choose(word);
  fetchAhead();
}

// What the server's other models say of the photo; they stand side by side with this one's.
async function compare() {
  const photo = shown;
  const button = part("compare");
  button.disabled = true;
  const answer = await call("compare", { id: photo.id });
  button.disabled = false;
  if (answer.error) { if (shown === photo) tell(answer.error); return; }
  for (const added of answer.captions) photo.captions[added.rank] = added.caption;
  photo.compared = true;
  if (shown !== photo || pending) return;
  showOthers();
  part("announce").textContent = [...part("models").children].map((card) => card.textContent).join("; ");
  part("models-box").scrollIntoView({ block: "nearest", behavior: "smooth" });
}

function showOthers() {
  const { captions, compared, sampled } = shown;
  const ranks = Object.keys(captions).map(Number);
  const others = ranks.filter((i) => !captions[i].model);
  const models = compared ? ranks.filter((i) => !i || captions[i].model) : [];
  const choice = (i, look, ...content) => make("button", {
    type: "button", class: look, "data-rank": i, "aria-pressed": String(i === rank),
  }, ...content);
  part("others-title").hidden = part("others").hidden = others.length < 2;
  part("others-title").textContent = sampled ? "Captions drawn at random" : "Captions from the search";
  part("others").replaceChildren(...others.map((i) => choice(i, "c-other",
    make("span", {}, captions[i].text),
    make("small", {}, (captions[i].own ? "yours, " : "") + percent(captions[i].confidence)))));
  if (!part("compare")) return; // there is one model only
  part("compare").hidden = Boolean(compared);
  part("models-box").hidden = models.length < 2;
  part("models").replaceChildren(...models.map((i) => {
    const { words, text, confidence, model } = captions[i];
    const said = words.flatMap((w) => [make("i", { style: `--p:${w.probability}` }, w.text), " "]);
    return choice(i, "c-other c-model", make("b", {}, model ?? shown.model), " ",
      make("span", {}, ...(words.length ? said : [text])), make("small", {}, percent(confidence)));
  }));
}

// A person's own words about the photo: they are read, and stand among its captions from then on.
function openOwn() {
  part("own").hidden = false;
  part("own-open").hidden = true;
  part("own-text").value = caption().text;
  part("own-text").focus();
}

function closeOwn() {
  keepFocus(part("own"), part("own-open"));
  part("own-open").hidden = false;
}

part("own").addEventListener("submit", async (event) => {
  event.preventDefault();
  const photo = shown;
  const button = part("own").querySelector("[type=submit]");
  button.disabled = true;
  const answer = await call("explain", { id: photo.id, text: part("own-text").value });
  button.disabled = false;
  if (!answer.error) photo.captions[answer.rank] = answer.caption;
  if (shown !== photo || pending) return;
  if (answer.error) { tell(answer.error); return; }
  tell("");
  rank = answer.rank;
  closeOwn();
  showOthers();
  showCaption();
  part("announce").textContent = caption().text;
});

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
  const { text, probability, given, doubtful } = words[word];
  part("now").replaceChildren(make("b", {}, text), given || caption().own
    ? ` is ${percent(probability)} likely for the model, ${given ? "given by you, " : ""}`
    : ` was ${percent(probability)} likely, `, doubtful ? "may not be on the photo, " : "",
  `word ${word + 1} of ${words.length}`);
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
