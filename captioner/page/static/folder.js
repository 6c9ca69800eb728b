// The Folder tab. The server captions; this asks again and again how far it is, and the gallery only
// ever grows. `job` is { id, rows, total, state, seconds } as far as it is known here.
const root = element.querySelector(".c-folder");
const KEEP = /\.(jpe?g|jpe|jfif|mpo|a?png|gif|webp|avif|hei[cf]|hif|tiff?|bmp|dib|jp2|j2k|p[pgbn]m|zip)$/i;
const GONE = {
  restarted: "The server was started anew in the meantime. What was captioned until then is here; the photos are not.",
  crowded: "Of this folder the server holds only the captions any more: its photos have made room for later ones.",
};
let work = 0; // the number of what was begun last: what belongs to older work is dropped
let job = null;
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((one) => one.isIntersecting)) {
    seen.unobserve(entry.target);
    fill(entry.target);
  }
}, { rootMargin: "400px" });

// Work ---------------------------------------------------------------------------------------------

async function start(files) {
  // What was named outright is tried whatever its name; of a folder, only the photos.
  const photos = files.filter((f) => !f.within && !f.webkitRelativePath ? true : KEEP.test(f.name));
  if (!photos.length) { tell("There is no photo among these files."); return; }
  const mine = begin();
  const uploads = await sendAll(photos, mine);
  if (mine !== work) return;
  if (!uploads.length) { idle(); return; }
  say("Captioning", "", 0);
  const { id, error } = await call("start", { files: uploads, settings });
  if (mine !== work) { if (id) call("stop", { id, from: 0 }); return; }
  if (error) { idle(); tell(error); return; }
  lastFolder.set({ id, running: true });
  follow(id, mine);
}

function begin() {
  tell("");
  job = null;
  part("gallery").replaceChildren();
  part("failures").replaceChildren();
  part("failed").hidden = true;
  part("order").value = "given";
  part("most").value = 100;
  part("drop").hidden = true;
  part("work").hidden = false;
  root.dataset.state = "busy";
  toTop();
  buttons(true);
  return (work += 1);
}

// Upload the files, three at a time: [{ path, name }] of those that arrived, in their order.
async function sendAll(files, mine) {
  const uploads = [];
  const problems = [];
  let next = 0;
  let done = 0;
  const status = `Uploading ${count(files.length, "file")}`;
  say(status, "", 0);
  async function sender() {
    while (next < files.length && mine === work) {
      const i = (next += 1) - 1;
      const file = files[i];
      try {
        uploads[i] = { path: await send(file), name: file.within || file.webkitRelativePath || file.name };
      } catch (error) { problems.push(error.message); }
      done += 1;
      if (mine === work) say(status, `${done} are there`, done / files.length);
    }
  }
  await Promise.all([sender(), sender(), sender()]);
  if (mine === work && problems.length) tell(problems.join(" "));
  return uploads.filter(Boolean);
}

const isOver = () => ["done", "stopped", "failed"].includes(job.state);

async function follow(id, mine) {
  job = { id, rows: [], total: 0, state: "waiting", seconds: 0 };
  for (;;) {
    const answer = await call("progress", { id, from: job.rows.length });
    if (mine !== work) return;
    if (answer.lost) part("detail").textContent = "The server cannot be reached; trying again";
    else if (answer.error) { ended(answer.error); return; }
    else update(answer);
    if (isOver()) return;
    await pause(answer.lost ? 2000 : 400);
    if (mine !== work) return;
  }
}

function update(answer) {
  answer.rows.forEach(add);
  if (answer.rows.length) arrange();
  if (answer.gone && !job.gone) tell(GONE[answer.gone]);
  Object.assign(job, answer, { rows: [...job.rows, ...answer.rows] });
  const failed = job.rows.filter((row) => row.error).length;
  const good = job.rows.length - failed;
  const detail = [failed ? `${failed} could not be read` : "", `${job.seconds} s`].filter(Boolean).join(", ");
  const share = job.total ? job.rows.length / job.total : 0;
  if (job.state === "waiting") say("Waiting", job.before ? `${count(job.before, "folder")} before yours` : "", 0);
  else if (job.state === "running") say(`${good} of ${job.total} captioned`, detail, share);
  else if (job.state === "done") say(`${count(good, "photo")} captioned`, detail, 1);
  else say(`Stopped: ${job.rows.length} of ${job.total} done`, detail, share);
  if (job.state === "failed") tell("Something broke on the server; what was done until then is here.");
  if (isOver()) {
    root.dataset.state = "shown";
    buttons(false);
    lastFolder.set({ id: job.id, running: false });
  }
}

// The server does not have the job any more: what came of it stays in view.
function ended(sentence) {
  lastFolder.set(null);
  if (job.rows.length) {
    root.dataset.state = "shown";
    say(`Ended: ${job.rows.length} of ${job.total} done`, "", 1);
    buttons(false);
  } else idle();
  tell(sentence);
}

async function stop() {
  const mine = (work += 1);
  if (!job) { idle(); return; }
  if (!isOver()) say(`Stopped: ${job.rows.length} of ${job.total} done`, "", 1);
  root.dataset.state = "shown";
  buttons(false);
  const answer = await call("stop", { id: job.id, from: job.rows.length });
  if (mine !== work) return;
  if (answer.error) tell(answer.error); else update(answer);
}

// After a reload: what was begun before it.
async function goOn(id) {
  const { error } = await call("progress", { id, from: 0 });
  if (work) return; // something else was begun in the meantime
  if (error) lastFolder.set(null); else follow(id, begin());
}

// Showing ------------------------------------------------------------------------------------------

function say(status, detail, share) {
  part("status").textContent = status;
  part("detail").textContent = detail;
  part("progress").setAttribute("aria-valuenow", Math.round(100 * share));
  part("progress").firstElementChild.style.width = `${100 * share}%`;
}

function buttons(busy) {
  for (const name of ["csv", "jsonl", "zip", "more"]) part(name).hidden = busy;
  part("stop").hidden = !busy;
}

function idle() {
  root.dataset.state = "empty";
  part("work").hidden = true;
  part("drop").hidden = false;
}

function add(row, place) {
  if (row.error) {
    part("failed").hidden = false;
    part("failures").append(make("li", {}, make("b", {}, row.file), make("span", {}, row.error)));
    return;
  }
  const card = make("div", { class: "c-photo", "data-i": job.rows.length + place },
    make("button", { type: "button", class: "c-photo-open" },
      make("span", { class: "c-photo-box" }, make("img", { alt: row.caption })), make("b", {}, row.caption)),
    make("small", {}, make("span", { title: row.file }, row.file), make("span", { class: "c-sure" }),
      make("button", { type: "button", class: "c-link", "aria-label": `Edit the caption of ${row.file}`, "data-edit": true }, "Edit")));
  describe(card, row);
  part("gallery").append(card);
  seen.observe(card);
}

function describe(card, row) {
  const { edited, confidence } = row;
  card.dataset.confidence = edited ? 1 : confidence ?? 0;
  card.querySelector("b").textContent = row.caption;
  card.querySelector("img").alt = row.caption;
  card.querySelector(".c-sure").textContent = edited ? "edited" : percent(confidence);
}

// A caption in the person's own words, which the exports say of it.
function edit(card) {
  const begun = card.querySelector("textarea");
  if (begun) { begun.focus(); return; }
  const open = card.querySelector(".c-photo-open");
  const area = make("textarea", { rows: 3, maxlength: 1000, "aria-label": "The caption" });
  area.value = open.textContent;
  const done = () => { form.remove(); open.querySelector("b").hidden = false; card.querySelector("[data-edit]").focus(); };
  const form = make("form", { class: "c-own" }, area, make("div", { class: "c-actions" },
    make("button", { type: "submit", class: "c-button c-primary" }, "Save"),
    make("button", { type: "button", class: "c-button", onclick: done }, "Cancel")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const i = Number(card.dataset.i);
    const row = await call("edit", { id: job.id, i, text: area.value });
    if (row.error) { tell(row.error); return; }
    job.rows[i] = row;
    describe(card, row);
    done();
  });
  open.querySelector("b").hidden = true;
  open.after(form);
  area.focus();
}

// The gallery in another order, or only what the model was less sure of.
function arrange() {
  const order = part("order").value;
  const most = Number(part("most").value) / 100;
  part("most-out").textContent = `${part("most").value}%`;
  const number = (card) => Number(card.dataset.i);
  const sure = (card) => Number(card.dataset.confidence);
  const cards = [...part("gallery").children];
  const sorted = cards.toSorted((one, other) => {
    if (order === "unsure") return sure(one) - sure(other);
    return order === "sure" ? sure(other) - sure(one) : number(one) - number(other);
  });
  for (const card of sorted) card.hidden = sure(card) > most;
  if (sorted.every((card, i) => card === cards[i])) return;
  const focused = document.activeElement; // a person may be writing while photos come
  part("gallery").replaceChildren(...sorted);
  if (part("gallery").contains(focused)) focused.focus({ preventScroll: true });
}

async function fill(card) {
  const { src } = await call("thumb", { id: job.id, i: Number(card.dataset.i) });
  if (src) card.querySelector("img").src = src;
}

// What people do -----------------------------------------------------------------------------------

async function download(kind) {
  const { name, src, error } = await call("download", { id: job.id, kind });
  if (error) tell(error); else save(name, src);
}

// The zip with a sheet of heatmaps for each photo: the server draws them now, which takes a while.
async function zipWithSheets() {
  const mine = (work += 1);
  let begin = true;
  let zip = "";
  tell("");
  root.dataset.state = "busy";
  buttons(true);
  while (!zip) {
    const { state, done, total, before, path, error, lost } = await call("sheets", { id: job.id, begin });
    if (mine !== work) return;
    begin &&= Boolean(lost);
    if (lost) part("detail").textContent = "The server cannot be reached; trying again";
    else if (error) { tell(error); break; }
    else if (state === "waiting") say("Waiting", before ? `${count(before, "folder")} before yours` : "", 0);
    else say(`${done} of ${count(total, "sheet")} drawn`, "", done / total);
    if (state === "failed") tell("The zip with sheets could not be made: the server has no room for it, or something broke there.");
    if (state === "failed" || state === "stopped") break;
    zip = path;
    if (!zip) await pause(lost ? 2000 : 400);
    if (mine !== work) return;
  }
  update({ ...job, rows: [] });
  const { root: address, api_prefix: prefix } = window.gradio_config;
  if (zip) save("captions.zip", `${address}${prefix}/file=${encodeURI(zip)}`);
}

const actions = {
  choose: () => part("files").click(),
  directory: () => part("directory").click(),
  stop,
  csv: () => download("csv"),
  jsonl: () => download("jsonl"),
  zip: () => (part("sheets").checked ? zipWithSheets() : download("zip")),
};

root.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.do) actions[button.dataset.do]();
  else if (button.dataset.edit !== undefined) edit(button.closest(".c-photo"));
  else if (button.matches(".c-photo-open")) {
    const card = button.closest(".c-photo");
    document.dispatchEvent(new CustomEvent("captioner:open", { detail: {
      what: { folder: job.id, i: Number(card.dataset.i) }, src: card.querySelector("img").src,
    } }));
  }
});
part("order").addEventListener("change", arrange);
part("most").addEventListener("input", arrange);
for (const name of ["files", "directory"]) {
  part(name).addEventListener("change", (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    if (files.length) start(files);
  });
}
takeFiles(part("veil"), (files) => { if (files.length) start(files); });
window.addEventListener("beforeunload", (event) => {
  if (root.dataset.state === "busy") event.preventDefault();
});
// Files that were dropped on the Caption tab. Gradio loads this tab when it is opened first.
function takeDropped() {
  const files = window.captionerDropped;
  window.captionerDropped = null;
  if (files) start(files);
}
document.addEventListener("captioner:dropped", takeDropped);
if (window.captionerDropped) takeDropped();
else if (lastFolder.get()) goOn(lastFolder.get().id);
