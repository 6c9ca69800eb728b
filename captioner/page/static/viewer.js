// The Caption tab. `shown` is the photo in view with its captions; `rank` is which of them, and
// `word` which word of that is looked at. `pending` is the question that has no answer yet.
//
// A question: { what: the photo as the server knows it, preview: an address of it in this browser,
// upload: aborts its upload, sent: whether the server has had it }. Answers to others than the
// pending one are dropped.
const root = element.querySelector(".c-viewer");
const BLANK = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='3' height='2'/%3E"; // until there is a picture
const visit = []; // the photos that were shown since the page was loaded, as `shown`
const page = [...crypto.getRandomValues(new Uint32Array(4))].join("-"); // who asks, for the queue
let pending = null;
let shown = null;
let rank = 0;
let word = 0;

// Asking -------------------------------------------------------------------------------------------

// Begin a question; the photo in `preview` is in view from now on, or what is there stays.
function begin(what, preview) {
  const before = pending;
  pending = { what, preview: preview ?? before?.preview ?? shown?.preview };
  before?.upload?.abort();
  release(before);
  tell("");
  root.dataset.state = "busy";
  part("result").hidden = false;
  part("busy").hidden = false;
  part("place").textContent = "";
  part("answer").hidden = true;
  part("announce").textContent = "Looking at the photo";
  keepFocus(part("drop"), root.querySelector(".c-again [data-do=choose]"));
  moveSettings("settings-shown");
  if (preview) display(preview, "Your photo");
  toTop();
  return pending;
}

async function askFile(file) {
  const question = begin(null, URL.createObjectURL(file));
  question.upload = new AbortController();
  try {
    question.what = { path: await send(file, question.upload.signal), name: file.name };
  } catch (error) {
    if (question === pending) refused(error.message);
    return;
  }
  if (question === pending) put(question);
}

// At most two questions are with the server; of those that wait behind them only the last counts.
let withServer = 0;
async function put(question) {
  if (withServer === 2) return;
  withServer += 1;
  if (!question.sent) watchPlace(question);
  question.sent = true;
  const answer = await call("ask", { page, settings, ...question.what });
  withServer -= 1;
  if (question === pending) {
    if (answer.superseded) put(question); // by one that was asked before it but came later
    else if (answer.error) refused(answer.error);
    else show(answer, question);
  } else if (pending?.what && !pending.sent) put(pending);
}

// Say how many are before this one, while it waits in the server's queue.
async function watchPlace(question) {
  let lost = 0;
  for (;;) {
    await pause(1500);
    if (question !== pending) return;
    const answer = await call("place", { page });
    if (question !== pending) return;
    lost = answer.lost ? lost + 1 : 0;
    if (lost === 3) { refused(UNREACHABLE); return; }
    part("place").textContent = answer.before ? `${count(answer.before, "photo")} before yours` : "";
  }
}

// A question that gets no caption: what was in view before it is in view again.
function refused(sentence) {
  const question = pending;
  pending = null;
  part("busy").hidden = true;
  if (shown) {
    root.dataset.state = "shown";
    part("answer").hidden = false;
    display(shown.src, caption().text);
    setShape(shown.width, shown.height);
    showHeat();
  } else empty();
  release(question);
  part("announce").textContent = "";
  tell(sentence);
  toTop();
}

// The page as it was when it was opened.
function empty() {
  root.dataset.state = "empty";
  part("busy").hidden = true;
  part("answer").hidden = true;
  part("drop").hidden = false;
  keepFocus(part("result"), part("drop").querySelector("[data-do=choose]"));
  moveSettings("settings-empty");
}

// The settings stand where the button is that uses them.
function moveSettings(place) {
  if (part("settings").parentElement !== part(place)) part(place).append(part("settings"));
}

// Hide a part; the focus, if it is in there, goes to another place and not to nowhere.
function keepFocus(hidden, other) {
  const within = hidden.contains(document.activeElement);
  hidden.hidden = true;
  if (within) other.focus({ preventScroll: true });
}

// Pictures of questions that are over need not be kept.
function release(question) {
  const kept = [shown?.preview, pending?.preview, ...visit.map((photo) => photo.src)];
  if (question?.preview?.startsWith("blob:") && !kept.includes(question.preview)) {
    URL.revokeObjectURL(question.preview);
  }
}

// Showing ------------------------------------------------------------------------------------------

function display(source, description) {
  wanted += 1; // the heat that is on its way belongs to another photo
  part("heat").hidden = true;
  part("noview").hidden = true;
  const bare = part("bare");
  bare.alt = description;
  bare.onload = () => setShape(bare.naturalWidth, bare.naturalHeight);
  bare.onerror = () => { part("noview").hidden = false; };
  bare.src = source;
}

function setShape(width, height) {
  root.style.setProperty("--ratio", width / height);
}

function show(answer, question) {
  const before = shown;
  shown = { ...answer, what: question.what, preview: question.preview, src: question.preview };
  pending = null;
  release(before);
  rank = 0;
  overlays.clear();
  remember(shown);
  present();
  showPhoto();
}

// Put what is in `shown` on the page.
function present() {
  const answer = shown;
  root.dataset.state = "shown";
  part("result").hidden = false;
  part("drop").hidden = true;
  part("busy").hidden = true;
  part("answer").hidden = false;
  part("seconds").textContent = `${answer.seconds.toFixed(answer.seconds < 9.95 ? 1 : 0)} s`;
  part("size").textContent = `${answer.width} × ${answer.height}`;
  for (const name of ["layers", "tools", "overlay", "sheet"]) part(name).hidden = !answer.heatmaps.length;
  closeOwn();
  part("draw").hidden = !answer.sampled;
  part("announce").textContent = caption().text;
  setShape(answer.width, answer.height);
  showOthers();
  showCaption();
  showVisit();
}

// This visit's photos: to go back to one asks the server for no new caption.
function remember(photo) {
  const same = (other) => JSON.stringify(other.what) === JSON.stringify(photo.what);
  const old = visit.findIndex(same);
  if (old >= 0) visit.splice(old, 1);
  visit.unshift(photo);
  visit.splice(24);
}

function showVisit() {
  part("visit-box").hidden = visit.length < 2;
  const focused = part("visit").contains(document.activeElement);
  part("visit").replaceChildren(...visit.map((photo, i) => make("button", {
    type: "button", class: "c-seen", "data-visit": i, "aria-pressed": String(photo === shown),
    "aria-label": `${photo.name}: ${photo.captions[0].text}`,
  }, make("img", { src: photo.src, alt: "" }))));
  if (focused) part("visit").querySelector("[aria-pressed=true]")?.focus({ preventScroll: true });
}

function goBack(i) {
  const before = pending;
  pending = null;
  before?.upload?.abort();
  release(before);
  tell("");
  part("busy").hidden = true;
  shown = visit[i];
  rank = 0;
  moveSettings("settings-shown");
  display(shown.src, caption().text);
  present();
  if (shown.src === shown.preview) showPhoto();
  toTop();
}

async function showPhoto() {
  const photo = shown;
  const { src } = await call("photo", { id: photo.id });
  if (!src) return;
  photo.src = src;
  const thumb = part("visit").querySelector(`[data-visit="${visit.indexOf(photo)}"] img`);
  if (thumb) thumb.src = src;
  if (photo.preview !== shown?.preview && photo.preview !== pending?.preview) release(photo);
  await decoded(src); // so that the one takes the place of the other without a gap
  if (shown !== photo || pending) return;
  part("noview").hidden = true;
  const bare = part("bare");
  bare.onload = bare.onerror = null;
  bare.src = src;
  bare.alt = photo.captions[0].text;
}

// Bring a tab of the page to the front, once gradio has made its button.
async function openTab(name) {
  for (let tries = 0; tries < 100; tries += 1) {
    const button = document.querySelector(`#c-tabs [data-tab-id="${name}"]`);
    if (button) { button.click(); return; }
    await pause(50);
  }
}

// What people do -----------------------------------------------------------------------------------

async function download(file) {
  const heat = part("heat-on").checked;
  const view = { word, maps: kind(), strength: heat ? strength() : 0, band: heat && part("band").checked };
  const { name, src, error } = await call("download", { id: shown.id, rank, kind: file, ...view });
  if (error) tell(error); else save(name, src);
}

async function copy() {
  const { text } = caption();
  let copied = true;
  try { await navigator.clipboard.writeText(text); } catch { copied = copyOldWay(text); }
  if (!copied) { tell("The browser does not let this page copy: select the caption and copy it by hand."); return; }
  const button = root.querySelector("[data-do=copy]");
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

// Over plain http browsers offer no clipboard, but still copy what is selected.
function copyOldWay(text) {
  const area = make("textarea", { class: "c-hidden", readonly: true });
  area.value = text;
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return copied;
}

function again() {
  const target = pending ?? shown;
  if (target?.what) put(begin(target.what));
}

function take(files) {
  const [file] = files;
  if (files.length === 1 && !/\.zip$/i.test(file.name)) { askFile(file); return; }
  const all = () => {
    window.captionerDropped = files;
    openTab("folder");
    document.dispatchEvent(new Event("captioner:dropped"));
  };
  if (files.length === 1) all();
  else if (files.length) {
    tell(`These are ${files.length} files; this tab captions one photo at a time.`,
      ["Caption all of them in the Folder tab", all], ["Only the first", () => askFile(file)]);
  }
}

const actions = {
  choose: () => part("file").click(),
  camera: openCamera,
  shoot,
  close: closeCamera,
  again,
  draw: () => {
    settings.seed = (settings.seed ?? 0) + 1;
    document.dispatchEvent(new Event("captioner:settings"));
    again();
  },
  text: () => download("text"),
  json: () => download("json"),
  sheet: () => download("sheet"),
  overlay: () => download("overlay"),
  own: openOwn,
  unwrite: closeOwn,
  compare,
  copy,
};

root.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.do) actions[button.dataset.do]();
  else if (button.dataset.word) {
    choose(Number(button.dataset.word));
    if (button.matches(".c-thumb")) part("frame").scrollIntoView({ block: "nearest", behavior: "smooth" });
  } else if (button.dataset.sample) {
    put(begin({ sample: Number(button.dataset.sample) }, button.querySelector("img").src));
  } else if (button.dataset.visit) goBack(Number(button.dataset.visit));
  else if (button.dataset.rank) {
    rank = Number(button.dataset.rank);
    for (const other of root.querySelectorAll("button[data-rank]")) {
      other.setAttribute("aria-pressed", String(Number(other.dataset.rank) === rank));
    }
    showCaption();
  }
});

part("file").addEventListener("change", (event) => {
  const files = [...event.target.files];
  event.target.value = "";
  take(files);
});
takeFiles(part("veil"), take);
part("address").addEventListener("submit", (event) => {
  event.preventDefault();
  put(begin({ url: part("url").value.trim() }, BLANK));
});
// A photo of the Folder tab.
document.addEventListener("captioner:open", ({ detail }) => {
  openTab("caption");
  put(begin(detail.what, detail.src || BLANK));
});
document.addEventListener("captioner:home", () => {
  openTab("caption");
  const before = pending;
  pending = null;
  shown = null;
  before?.upload?.abort();
  release(before);
  tell("");
  empty();
});
// A folder that was at work when the page was loaded again.
if (lastFolder.get()?.running) openTab("folder");
