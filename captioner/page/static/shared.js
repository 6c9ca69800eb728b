// What the Caption and the Folder tab share.
const part = (name) => element.querySelector(`[data-part="${name}"]`);
const percent = (p) => { // what is not known is not said
  if (typeof p !== "number") return "–";
  return p < 0.005 ? "<1%" : `${Math.round(100 * p)}%`;
};
const count = (n, thing) => `${n} ${thing}${n === 1 ? "" : "s"}`;
const pause = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });
const UNREACHABLE = "The server cannot be reached, or something broke there. Try again in a moment, or load the page anew.";

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

// A sentence for the person, with buttons for what can be done: [name, function].
function tell(sentence, ...choices) {
  const box = part("error");
  box.replaceChildren(sentence || "", ...choices.map(([name, act]) => make("button", {
    type: "button", class: "c-button", onclick: () => { tell(""); act(); },
  }, name)));
  box.hidden = !sentence;
}

// Ask the server: its answer, or { error }; with `lost` when there was no answer at all.
async function call(name, question) {
  const answer = await server[name](question); // undefined when the connection failed
  return answer ?? { error: UNREACHABLE, lost: true };
}

// Send a file to the server; where it lies there. Throws a sentence.
async function send(file, signal) {
  const { root, api_prefix: prefix } = window.gradio_config;
  const form = new FormData();
  form.append("files", file, file.name);
  let answer;
  try {
    answer = await fetch(`${root}${prefix}/upload`, { method: "POST", body: form, credentials: "same-origin", signal });
  } catch { throw new Error(`${file.name} could not be uploaded: the server cannot be reached.`); }
  if (answer.status === 413) throw new Error(`${file.name} could not be uploaded: it is too large.`);
  if (answer.status === 507) throw new Error(`${file.name} could not be uploaded: the server holds too many files just now. Try again later.`);
  if (!answer.ok) throw new Error(`${file.name} could not be uploaded: the server refused it.`);
  return (await answer.json())[0];
}

// The folder that this tab of the browser began last, { id, running }, over reloads. Where the
// browser keeps nothing, a reload begins anew.
const lastFolder = {
  get() { try { return JSON.parse(sessionStorage.getItem("captioner-folder")); } catch { return null; } },
  set(folder) { try { sessionStorage.setItem("captioner-folder", JSON.stringify(folder)); } catch { /* private window */ } },
};

// What was asked for appears at the top: bring that into view for who asked from further down.
function toTop() {
  if (element.getBoundingClientRect().top < 0) element.scrollIntoView({ behavior: "smooth" });
}

// Whether this tab is the one in view: both tabs stay in the page.
const inView = () => element.offsetParent !== null && element.getClientRects().length > 0;

// Files dropped anywhere on the page, while this tab is in view, and files pasted.
function takeFiles(veil, taken) {
  let depth = 0;
  const holdsFiles = (event) => inView() && [...(event.dataTransfer?.types || [])].includes("Files");
  const done = () => { depth = 0; veil.hidden = true; };
  document.addEventListener("dragenter", (event) => {
    if (holdsFiles(event)) { depth += 1; veil.hidden = false; }
  });
  document.addEventListener("dragleave", (event) => {
    if (holdsFiles(event) && (depth -= 1) <= 0) done();
  });
  document.addEventListener("dragover", (event) => { if (holdsFiles(event)) event.preventDefault(); });
  document.addEventListener("drop", async (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    done();
    taken(await droppedFiles(event.dataTransfer));
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files || [])];
    if (inView() && files.length) { event.preventDefault(); taken(files); }
  });
}

// The files of a drop, with those inside dropped folders.
async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const files = [];
  async function walk(entry) {
    if (entry.isFile) {
      const file = await new Promise((yes, no) => { entry.file(yes, no); });
      files.push(Object.assign(file, { within: entry.fullPath.replace(/^\//, "") }));
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((yes, no) => { reader.readEntries(yes, no); });
      if (!some.length) return;
      for (const inner of some) await walk(inner);
    }
  }
  for (const entry of entries) await walk(entry);
  return files;
}

function save(name, source) {
  const link = make("a", { href: source, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}
