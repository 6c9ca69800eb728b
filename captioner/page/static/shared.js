// What the Caption and the Folder tab share.
const part = (name) => element.querySelector(`[data-part="${name}"]`);
const percent = (p) => (p < 0.005 ? "<1%" : `${Math.round(100 * p)}%`);

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

function tell(sentence) {
  const box = part("error");
  box.textContent = sentence || "";
  box.hidden = !sentence;
}

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
      const file = await new Promise((yes, no) => entry.file(yes, no));
      files.push(Object.assign(file, { within: entry.fullPath.replace(/^\//, "") }));
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((yes, no) => reader.readEntries(yes, no));
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
