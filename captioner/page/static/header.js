// Light or dark: what the person chose here last, else what the system says.
const button = element.querySelector("[data-do=theme]");
const KEY = "captioner-theme";

function show(dark) {
  document.body.classList.toggle("dark", dark);
  button.setAttribute("aria-pressed", String(dark));
}

function chosen() {
  const asked = new URLSearchParams(location.search).get("__theme");
  if (asked === "dark" || asked === "light") return asked;
  try { return localStorage.getItem(KEY); } catch { return null; }
}

const system = window.matchMedia("(prefers-color-scheme: dark)");
const now = () => (chosen() ? chosen() === "dark" : system.matches);
show(now());
system.addEventListener("change", () => show(now()));
button.addEventListener("click", () => {
  const dark = !document.body.classList.contains("dark");
  try { localStorage.setItem(KEY, dark ? "dark" : "light"); } catch { /* private window */ }
  show(dark);
});
element.querySelector("[data-do=home]").addEventListener("click", (event) => {
  event.preventDefault();
  document.dispatchEvent(new Event("captioner:home"));
  window.scrollTo({ top: 0, behavior: "smooth" });
});

// Logging out, for who has logged in.
const out = element.querySelector("[data-part=out]");
out.hidden = !window.gradio_config?.username;
out.title = `You are logged in as ${window.gradio_config?.username}`;
out.addEventListener("click", async () => {
  await fetch(`${window.gradio_config.root}/logout`, { method: "POST" });
  location.reload();
});
