// The form of settings. There is one in each tab, over the same settings: what is changed in one is
// changed in the other. Only what was changed is sent: the rest is as the model has it.
const settings = (window.captionerSettings ??= {});

function settingsForm(box) {
  const fields = [...box.querySelectorAll("[data-setting]")];
  const words = (text) => text.split(/[\s,]+/).filter(Boolean);
  const read = {
    check: (field) => field.checked,
    slider: (field) => Number(field.value),
    number: (field) => (field.value === "" ? null : Number(field.value)),
    text: (field) => field.value.trim(),
    words: (field) => words(field.value),
    choice: (field) => field.value,
  };
  const untouched = { // what a field holds until it is changed
    check: (text) => text === "true",
    slider: Number,
    number: (text) => (text === "" ? null : Number(text)),
    text: (text) => text,
    words,
    choice: (text) => text,
  };
  const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
  const initial = (field) => untouched[field.dataset.kind](field.dataset.default);

  function refresh() {
    const changed = [];
    for (const field of fields) {
      const { setting, kind, label } = field.dataset;
      const value = setting in settings ? settings[setting] : initial(field);
      if (kind === "check") field.checked = value;
      else if (!same(read[kind](field), value)) field.value = kind === "words" ? value.join(", ") : value ?? "";
      if (kind === "slider") field.nextElementSibling.textContent = value;
      if (setting in settings) changed.push(kind === "check" ? label : `${label}: ${[value].flat().join(", ")}`);
    }
    box.querySelector("[data-part=in-force]").textContent = changed.join("; ");
    box.querySelector("[data-part=reset]").hidden = !changed.length;
  }

  function take(field) {
    const { setting, kind } = field.dataset;
    const value = read[kind](field);
    if (value === null || same(value, initial(field))) delete settings[setting];
    else settings[setting] = value;
    document.dispatchEvent(new Event("captioner:settings"));
  }

  for (const field of fields) {
    field.addEventListener("input", () => take(field));
    if (field.dataset.kind === "number") {
      field.addEventListener("change", () => { // what a field cannot hold becomes the nearest it can
        const { least, most } = field.dataset;
        if (field.value !== "") field.value = Math.min(Number(most), Math.max(Number(least), Number(field.value)));
        take(field);
      });
    }
  }
  box.querySelector("[data-part=reset]").addEventListener("click", () => {
    for (const name of Object.keys(settings)) delete settings[name];
    document.dispatchEvent(new Event("captioner:settings"));
  });
  document.addEventListener("captioner:settings", refresh);
  refresh();
}
settingsForm(part("settings"));
