// The Caption tab. `shown` is what the server said of the photo; `rank` is which of its captions
// and `word` which word of that is looked at.
const root = element.querySelector(".c-viewer");
let asked = 0; // the number of the last question: answers to older ones are passed over
let last = null; // asks the last question once more, under a new number
let shown = null;
let rank = 0;
let word = 0;
let layer = 0;
let preview = null; // object URL of the photo in this browser
const overlays = new Map(); // "id rank word strength" -> promise of a decoded image
const caption = () => shown.captions[rank];
const strength = () => Number(part("strength").value) / 100;

// Asking -------------------------------------------------------------------------------------------

function busy() {
  asked += 1;
  tell("");
  root.dataset.state = "busy";
  toTop();
  part("result").hidden = false;
  part("drop").hidden = true;
  part("busy").hidden = false;
  part("told").hidden = true;
  return asked;
}

function ask(what, n = busy()) {
  last = (number) => trigger("ask", { n: number, ...what });
  last(n);
}

async function askFile(file) {
  showPreview(URL.createObjectURL(file));
  const mine = busy();
  try {
    const { path } = await upload(file);
    if (asked === mine) ask({ path, name: file.name }, mine);
  } catch {
    if (asked === mine) {
      refused(`${file.name} could not be uploaded: it is too large, or the server is not reachable.`);
    }
  }
}

function askSample(button) {
  showPreview(button.querySelector("img").src);
  ask({ sample: Number(button.dataset.sample) });
}

function refused(sentence) {
  root.dataset.state = "error";
  part("busy").hidden = true;
  if (shown) { // what was there before stays
    part("told").hidden = false;
    showPhoto();
  } else {
    part("result").hidden = true;
    part("drop").hidden = false;
  }
  tell(sentence);
  toTop();
}

watch("value", () => {
  const answer = props.value;
  if (!answer || (answer.n !== asked)) return;
  if (answer.error) { refused(answer.error); return; }
  show(answer);
});

document.addEventListener("captioner:failed", () => {
  if (root.dataset.state === "busy") {
    refused("The server is busy, or something broke there. Try again in a moment.");
  }
});

// Showing ------------------------------------------------------------------------------------------

function showPreview(source) {
  if (preview?.startsWith("blob:")) URL.revokeObjectURL(preview);
  preview = source;
  part("heat").hidden = true;
  part("noview").hidden = true;
  const bare = part("bare");
  bare.alt = "Your photo";
  bare.onload = () => setShape(bare.naturalWidth, bare.naturalHeight);
  bare.onerror = () => { part("noview").hidden = false; };
  bare.src = source;
}

function setShape(width, height) {
  root.style.setProperty("--ratio", width / height);
}

function show(answer) {
  shown = answer;
  rank = 0;
  overlays.clear();
  tell("");
  root.dataset.state = "shown";
  part("result").hidden = false;
  part("drop").hidden = true;
  part("busy").hidden = true;
  part("told").hidden = false;
  part("seconds").textContent = `${answer.seconds.toFixed(answer.seconds < 9.95 ? 1 : 0)} s`;
  part("size").textContent = `${answer.width} × ${answer.height}`;
  setShape(answer.width, answer.height);
  showPhoto();
  showOthers();
  showCaption();
}

async function showPhoto() {
  const mine = shown.id;
  setShape(shown.width, shown.height);
  const { src } = await server.photo({ id: mine });
  if (!src || shown.id !== mine) return;
  part("noview").hidden = true;
  const bare = part("bare");
  bare.onload = bare.onerror = null;
  bare.src = src;
  bare.alt = shown.captions[0].text;
  showHeat();
}

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
    "aria-label": `${w.text}, ${percent(w.probability)}`,
  }, make("img", { src: w.thumb, alt: `Where the model looked for ${w.text}` }),
  make("span", {}, w.text), make("small", {}, percent(w.probability)))));
  part("confidence").textContent = percent(confidence);
  part("meter").style.width = `${100 * confidence}%`;
  word = Math.min(first, Math.max(0, words.length - 1));
  choose(word);
  fetchAhead();
}

function showOthers() {
  part("others-box").hidden = shown.captions.length < 2;
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

// Heat ---------------------------------------------------------------------------------------------

function overlay(i) {
  const question = { id: shown.id, rank, word: i, strength: strength() };
  const key = Object.values(question).join(" ");
  if (!overlays.has(key)) {
    overlays.set(key, server.overlay(question).then(async ({ src, error }) => {
      if (error) { overlays.delete(key); throw new Error(error); }
      const image = new Image();
      image.src = src;
      await image.decode();
      return image;
    }));
    // The other strengths of a slider that moves need not all be kept.
    if (overlays.size > 120) overlays.delete(overlays.keys().next().value);
  }
  return overlays.get(key);
}

let wanted = 0;
async function showHeat() {
  const heat = part("heat");
  const mine = (wanted += 1);
  if (!part("heat-on").checked || !caption().words.length) { heat.hidden = true; return; }
  try {
    const image = await overlay(word);
    if (mine !== wanted) return;
    heat.src = image.src;
    heat.alt = `Where the model looked for “${caption().words[word].text}”: ${caption().text}`;
    heat.dataset.word = word;
    heat.dataset.rank = rank;
    heat.hidden = false;
  } catch (error) {
    if (mine === wanted) tell(error.message);
  }
}

// All words in turn, beginning beside the one in view, so that walking waits for nothing.
async function fetchAhead() {
  const key = () => `${shown.id} ${rank} ${strength()}`;
  const mine = key();
  const count = caption().words.length;
  for (let step = 0; step < count && mine === key(); step += 1) {
    try { await overlay((word + step) % count); } catch { return; }
  }
}

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

// Layers and heads ---------------------------------------------------------------------------------

let looking = 0;
async function showHeads() {
  const mine = (looking += 1);
  layer = Math.min(layer, shown.layers.length - 1);
  part("layer-buttons").replaceChildren(...shown.layers.map((name, i) => make("button", {
    type: "button", class: "c-chip", "aria-pressed": String(i === layer),
    onclick: () => { layer = i; showHeads(); },
  }, name)));
  const { heads, average, error } = await server.heads({ id: shown.id, rank, word, layer });
  if (mine !== looking) return;
  if (error) { part("heads").textContent = error; return; }
  const { text } = caption().words[word];
  const cell = (source, name) => make("figure", {},
    make("img", { src: source, alt: `${name} of ${shown.layers[layer].toLowerCase()} for ${text}` }), make("figcaption", {}, name));
  part("heads").replaceChildren(
    ...heads.map((source, i) => cell(source, `Head ${i + 1}`)), cell(average, "Average"),
  );
}
part("layers").addEventListener("toggle", () => { if (part("layers").open && shown) showHeads(); });

// What people do -----------------------------------------------------------------------------------

async function download(kind) {
  const { name, src, error } = await server.download({ id: shown.id, rank, kind });
  if (error) tell(error); else save(name, src);
}

async function openCamera() {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 } } });
    part("video").srcObject = stream;
    part("dialog").showModal();
  } catch {
    tell("The camera cannot be used: the browser has none, or was not allowed to use it.");
  }
}

function closeCamera() {
  part("video").srcObject?.getTracks().forEach((track) => track.stop());
  part("video").srcObject = null;
  if (part("dialog").open) part("dialog").close();
}

function shoot() {
  const video = part("video");
  const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => {
    closeCamera();
    askFile(new File([blob], "camera.jpg", { type: "image/jpeg" }));
  }, "image/jpeg", 0.95);
}
part("dialog").addEventListener("close", closeCamera);

const actions = {
  choose: () => part("file").click(),
  camera: openCamera,
  shoot,
  close: closeCamera,
  again: () => last && last(busy()),
  text: () => download("text"),
  json: () => download("json"),
  sheet: () => download("sheet"),
  copy: async () => {
    try { await navigator.clipboard.writeText(caption().text); } catch { return; }
    const button = root.querySelector("[data-do=copy]");
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  },
};

root.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.do) actions[button.dataset.do]();
  else if (button.dataset.word) choose(Number(button.dataset.word));
  else if (button.dataset.sample) askSample(button);
  else if (button.dataset.rank) {
    rank = Number(button.dataset.rank);
    for (const other of part("others").children) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    showCaption();
  }
});

root.addEventListener("keydown", (event) => {
  const group = event.target.closest("[data-word]")?.parentElement.dataset.part;
  if (!group) return;
  const to = { ArrowLeft: word - 1, ArrowRight: word + 1, Home: 0, End: -1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  choose(to, group);
});

part("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (file) askFile(file);
});
takeFiles(part("veil"), ([file]) => { if (file) askFile(file); });
// A photo of the Folder tab: the server opens it and brings this tab to the front.
document.addEventListener("captioner:open", ({ detail }) => {
  last = detail.ask;
  showPreview(detail.src);
  last(busy());
});
