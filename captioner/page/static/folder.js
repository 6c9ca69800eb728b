// The Folder tab. The server sends the list of what is done, again and again, longer each time; the
// gallery only ever grows.
const root = element.querySelector(".c-folder");
const KEEP = /\.(jpe?g|jpe|jfif|mpo|a?png|gif|webp|avif|hei[cf]|hif|tiff?|bmp|dib|jp2|j2k|p[pgbn]m|zip)$/i;
let asked = 0;
let state = null;
let cards = []; // of the photos that are done, in their order; null for those that failed
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((one) => one.isIntersecting)) {
    seen.unobserve(entry.target);
    fill(entry.target);
  }
}, { rootMargin: "400px" });

async function start(files) {
  // What was named outright is tried whatever its name; of a folder, only the photos.
  const wanted = files.filter((f) => !f.within && !f.webkitRelativePath ? true : KEEP.test(f.name));
  if (!wanted.length) { tell("There is no photo among these files."); return; }
  const mine = (asked += 1);
  tell("");
  state = null;
  cards = [];
  part("gallery").replaceChildren();
  part("failures").replaceChildren();
  part("failed").hidden = true;
  part("drop").hidden = true;
  part("work").hidden = false;
  root.dataset.state = "busy";
  toTop();
  buttons(true);
  say(`Uploading ${count(wanted.length, "file")}`, "", 0);
  const sent = new Array(wanted.length);
  let next = 0;
  let done = 0;
  const lost = [];
  async function sender() {
    while (next < wanted.length && mine === asked) {
      const i = (next += 1) - 1;
      const file = wanted[i];
      try {
        const { path } = await upload(file);
        sent[i] = { path, name: file.within || file.webkitRelativePath || file.name };
      } catch { lost.push(file.name); }
      done += 1;
      if (mine === asked) say(`Uploading ${count(wanted.length, "file")}`, `${done} are there`, done / wanted.length);
    }
  }
  await Promise.all([sender(), sender(), sender()]);
  if (mine !== asked) return;
  if (lost.length) tell(`Could not be uploaded (too large?): ${lost.join(", ")}`);
  const files_ = sent.filter(Boolean);
  if (!files_.length) { idle(); return; }
  say("Captioning", "waiting for a free place", 0);
  trigger("start", { n: mine, files: files_ });
}

const count = (n, thing) => `${n} ${thing}${n === 1 ? "" : "s"}`;

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

watch("value", () => {
  const answer = props.value;
  if (!answer || answer.n !== asked) return;
  if (answer.error) { idle(); tell(answer.error); return; }
  state = answer;
  answer.rows.slice(cards.length).forEach(add);
  const failed = answer.rows.filter((row) => row.error).length;
  const good = answer.rows.length - failed;
  const detail = [failed ? `${failed} could not be read` : "", `${answer.seconds} s`].filter(Boolean).join(", ");
  const status = answer.done ? `${count(good, "photo")} captioned` : `${good} of ${answer.total} captioned`;
  say(status, detail, answer.rows.length / answer.total);
  if (answer.done) { root.dataset.state = "shown"; buttons(false); }
});

function add(row) {
  if (row.error) {
    cards.push(null);
    part("failed").hidden = false;
    part("failures").append(make("li", {}, make("b", {}, row.file), make("span", {}, row.error)));
    return;
  }
  const card = make("button", { type: "button", class: "c-photo", "data-i": cards.length,
    title: `${row.file}, confidence ${percent(row.confidence)}` },
  make("span", { class: "c-photo-box" }, make("img", { alt: row.caption })), make("b", {}, row.caption),
  make("small", {}, make("span", {}, row.file), make("span", {}, percent(row.confidence))));
  cards.push(card);
  part("gallery").append(card);
  seen.observe(card);
}

async function fill(card) {
  const { src } = await server.thumb({ id: state.id, i: Number(card.dataset.i) });
  if (src) card.querySelector("img").src = src;
}

async function download(kind) {
  const { name, src, error } = await server.download({ id: state.id, kind });
  if (error) tell(error); else save(name, src);
}

const actions = {
  choose: () => part("files").click(),
  directory: () => part("directory").click(),
  stop: () => {
    asked += 1;
    trigger("stop");
    if (state?.rows.length) { say(`Stopped: ${state.rows.length} of ${state.total} done`, "", 1); buttons(false); } else idle();
  },
  csv: () => download("csv"),
  jsonl: () => download("jsonl"),
  zip: () => download("zip"),
};

root.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.do) actions[button.dataset.do]();
  else if (button.dataset.i) {
    document.dispatchEvent(new CustomEvent("captioner:open", { detail: {
      src: button.querySelector("img").src,
      ask: (n) => trigger("open", { n, id: state.id, i: Number(button.dataset.i) }),
    } }));
  }
});
for (const name of ["files", "directory"]) {
  part(name).addEventListener("change", (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    if (files.length) start(files);
  });
}
takeFiles(part("veil"), (files) => { if (files.length) start(files); });
document.addEventListener("captioner:failed", () => {
  if (root.dataset.state === "busy" && inView()) {
    idle();
    tell("The server is busy, or something broke there. Try again in a moment.");
  }
});
