// The heat on the photo, of the kind that is chosen, and that of each layer and head.
const overlays = new Map(); // "id rank word maps strength band" -> promise of a decoded image
let layer = 0;
const strength = () => Number(part("strength").value) / 100;

// The kinds of heat that the caption in view has, and the one in view: attention comes with the
// caption, evidence is made when it is first asked for.
const kinds = () => caption().heatmaps ?? shown.heatmaps;
function kind() {
  const chosen = part("kinds").querySelector(":checked").value;
  return kinds().includes(chosen) ? chosen : kinds()[0];
}
const SHOWS = { attention: "Where the model looked for", evidence: "What speaks for" };

function overlay(i) {
  const question = { id: shown.id, rank, word: i, maps: kind(), strength: strength(), band: part("band").checked };
  const key = Object.values(question).join(" ");
  if (!overlays.has(key)) {
    overlays.set(key, call("overlay", question).then(async ({ src, error }) => {
      if (error) { overlays.delete(key); throw new Error(error); }
      return decoded(src);
    }));
    // The other strengths of a slider that moves need not all be kept.
    if (overlays.size > 120) overlays.delete(overlays.keys().next().value);
  }
  return overlays.get(key);
}

async function decoded(src) {
  const image = new Image();
  image.src = src;
  await image.decode();
  return image;
}

let wanted = 0; // the number of the last overlay that was to be shown
async function showHeat() {
  if (pending && pending.preview !== shown.preview) return; // another photo is in view
  const heat = part("heat");
  const mine = (wanted += 1);
  if (!kinds().length || !part("heat-on").checked || !caption().words.length) { heat.hidden = true; return; }
  try {
    const image = await overlay(word);
    if (mine !== wanted) return;
    heat.src = image.src;
    heat.alt = `${SHOWS[kind()]} “${caption().words[word].text}”: ${caption().text}`;
    heat.dataset.word = word;
    heat.dataset.maps = kind();
    heat.dataset.rank = rank;
    heat.hidden = false;
  } catch (error) {
    if (mine !== wanted) return;
    heat.hidden = true;
    if (part("error").hidden) tell(error.message);
  }
}

// All words in turn, beginning beside the one in view, so that walking waits for nothing.
async function fetchAhead() {
  const key = () => shown && `${shown.id} ${rank} ${kind()} ${strength()} ${part("band").checked}`;
  const mine = key();
  const many = kinds().length ? caption().words.length : 0;
  for (let step = 0; step < many && mine === key(); step += 1) {
    try { await overlay((word + step) % many); } catch { return; }
  }
}

// The small heatmaps below, of the kind in view. They are kept with the caption.
async function showThumbs() {
  const mine = caption();
  const maps = kind();
  if (!maps) return;
  mine.thumbs ??= { [kinds()[0]]: mine.words.map((w) => w.thumb) };
  if (!mine.thumbs[maps]) {
    const { thumbs, error } = await call("thumbs", { id: shown.id, rank, maps });
    if (error) return; // the large heat says so
    mine.thumbs[maps] = thumbs;
  }
  if (!shown || mine !== caption() || maps !== kind()) return;
  part("strip").querySelectorAll("img").forEach((image, i) => {
    image.src = mine.thumbs[maps][i];
    image.alt = SHOWS[maps]; // the word follows
  });
}

part("kinds").addEventListener("change", async () => {
  if (!shown) return;
  part("frame").setAttribute("aria-busy", "true");
  await Promise.all([showHeat(), showThumbs()]);
  part("frame").removeAttribute("aria-busy");
  if (shown) fetchAhead();
});

let resting = null;
part("strength").addEventListener("input", () => {
  part("strength-out").textContent = `${part("strength").value}%`;
  part("heat-on").checked = true;
  if (!shown) return;
  showHeat();
  clearTimeout(resting);
  resting = setTimeout(fetchAhead, 400);
});
part("heat-on").addEventListener("change", () => shown && showHeat());
part("band").addEventListener("change", () => { if (shown) { showHeat(); fetchAhead(); } });

// Layers and heads ---------------------------------------------------------------------------------

let looking = 0;
async function showHeads() {
  const mine = (looking += 1);
  const layers = caption().layers ?? shown.layers;
  layer = Math.max(0, Math.min(layer, layers.length - 1));
  part("layer-buttons").replaceChildren(...layers.map((name, i) => make("button", {
    type: "button", class: "c-chip", "aria-pressed": String(i === layer),
    onclick: () => { layer = i; showHeads(); },
  }, name)));
  const { heads, average, error } = await call("heads", { id: shown.id, rank, word, layer });
  if (mine !== looking) return;
  if (error) { part("heads").textContent = error; return; }
  const { text } = caption().words[word];
  const cell = (source, name) => make("figure", {},
    make("img", { src: source, alt: `${name} of ${layers[layer].toLowerCase()} for ${text}` }), make("figcaption", {}, name));
  part("heads").replaceChildren(
    ...heads.map((source, i) => cell(source, `Head ${i + 1}`)), cell(average, "Average"),
  );
}
part("layers").addEventListener("toggle", () => { if (part("layers").open && shown) showHeads(); });
