// The page: two tabs, one place for messages.

import { Analyse } from "./analyse.js";
import { getJson } from "./api.js";
import { $ } from "./dom.js";
import { Search } from "./search.js";

const tabs = [...document.querySelectorAll('[role="tab"]')];

function say(text) {
  $("status").textContent = text;
}

function complain(text) {
  $("alert").hidden = !text;
  $("alert-text").textContent = text || "";
}

function choose(tab) {
  for (const one of tabs) {
    const isChosen = one === tab;
    one.setAttribute("aria-selected", String(isChosen));
    one.tabIndex = isChosen ? 0 : -1;
    $(one.getAttribute("aria-controls")).hidden = !isChosen;
  }
  complain(null);
}

for (const [position, tab] of tabs.entries()) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    const other = tabs[(position + by + tabs.length) % tabs.length];
    choose(other);
    other.focus();
  });
}
$("alert-close").addEventListener("click", () => complain(null));

const analyse = new Analyse({ say, complain });
const search = new Search({
  say,
  complain,
  onUse: (file) => {
    choose($("tab-analyse"));
    analyse.open(file);
  },
});

try {
  const info = await getJson("/v1/info");
  $("model").textContent = `model ${info.model}`;
  $("model").hidden = false;
  analyse.setModes(info.modes);
  search.setIndex(info.index || null, info.limits);
} catch (error) {
  complain(error.message);
}
document.documentElement.dataset.ready = "true";
