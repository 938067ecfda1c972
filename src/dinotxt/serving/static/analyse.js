// The first tab: a picture and labels in; regions and bars out.

import { postForm, readLines } from "./api.js";
import { Chips } from "./chips.js";
import { $, element } from "./dom.js";
import { openPicture, pictureOf } from "./picture.js";
import { Viewer } from "./viewer.js";

const PRESETS = {
  Street: ["road", "sidewalk", "building", "car", "person", "tree", "sky"],
  Nature: ["sky", "mountain", "forest", "water", "grass", "rock"],
  Room: ["wall", "floor", "window", "table", "chair", "sofa", "lamp"],
  Animals: ["cat", "dog", "bird", "horse", "background"],
};
const MODES = {
  whole: ["Whole", "fast"],
  window: ["Windows", "finer"],
  highres: ["High-res", "finest, slow"],
};

export class Analyse {
  constructor({ say, complain }) {
    this.say = say;
    this.complain = complain;
    this.picture = null;
    this.work = null;
    this.viewer = new Viewer({
      root: $("viewer"), photo: $("photo"), overlay: $("overlay"), tip: $("tip"), cross: $("cross"), onSay: say,
    });
    this.chips = new Chips({
      box: $("chips"), list: $("chip-list"), input: $("label-input"), onChange: () => this.complain(null),
    });
    this.#addPresets();
    this.#listenForPictures();
    this.#listenToControls();
  }

  setModes(names) {
    const fields = names.map((name, position) => {
      const [title, hint] = MODES[name] || [name, ""];
      const field = element("label");
      const input = element("input", { type: "radio", name: "mode", value: name, checked: position === 0 });
      input.addEventListener("change", () => this.picture && this.chips.labels.length && this.run());
      field.append(input, element("span", { textContent: title }), element("small", { textContent: hint }));
      return field;
    });
    $("modes").append(...fields);
  }

  async open(file) {
    try {
      const picture = await openPicture(file);
      this.#stop();
      this.complain(null);
      this.picture = picture;
      $("drop").hidden = true;
      $("viewer").hidden = $("stage-bar").hidden = false;
      $("regions").hidden = $("classes").hidden = $("save").disabled = true;
      $("viewer").setAttribute("aria-label", picture.name ? `The picture ${picture.name}` : "The picture");
      this.viewer.show(picture.bitmap);
      if (this.chips.labels.length) await this.run();
      else $("label-input").focus();
    } catch (error) {
      this.complain(error.message);
    }
  }

  async run() {
    this.chips.commit();
    if (!this.picture) return this.complain("Choose a picture first.");
    if (!this.chips.labels.length) {
      $("label-input").focus();
      return this.complain("Type at least one label, such as tree.");
    }
    this.complain(null);
    this.#stop();
    const work = (this.work = new AbortController());
    this.#busy(true);
    try {
      await Promise.all([this.#classify(work.signal), this.#segment(work.signal)]);
      this.say("Done.");
    } catch (error) {
      work.abort();
      if (error.name !== "AbortError") this.complain(error.message);
    } finally {
      if (this.work === work) this.#busy(false);
    }
  }

  #fields(more = []) {
    const labels = this.chips.labels.map((label) => ["labels", label]);
    return [["image", new File([this.picture.blob], "picture")], ...labels, ...more];
  }

  async #classify(signal) {
    const response = await postForm("/v1/classify", this.#fields(), signal);
    const { labels } = await response.json();
    $("bar-list").replaceChildren(...labels.slice(0, 12).map(({ label, probability }) => {
      const fill = element("div", { className: "fill" });
      fill.style.width = `${100 * probability}%`;
      const track = element("div", { className: "track" });
      track.append(fill);
      const row = element("li");
      row.append(name(label), share(probability), track);
      return row;
    }));
    $("classes").hidden = false;
  }

  async #segment(signal) {
    const mode = document.querySelector('input[name="mode"]:checked')?.value || "whole";
    const fields = this.#fields([["mode", mode], ["output", "rle"], ["stream", "true"]]);
    const response = await postForm("/v1/segment", fields, signal);
    const result = await readLines(response, ({ done, total }) => this.#progress(done, total));
    this.viewer.setResult(result);
    this.#listRegions(result.labels);
    $("save").disabled = false;
    $("stage").scrollIntoView({ block: "nearest" });
  }

  #listRegions(regions) {
    const order = regions.map((_, position) => position).sort((a, b) => regions[b].area - regions[a].area);
    $("region-list").replaceChildren(...order.map((position) => {
      const { label, colour, area } = regions[position];
      const box = element("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => {
        this.viewer.visible[position] = box.checked;
        this.#light(position);
      });
      const swatch = element("span", { className: "swatch" });
      swatch.style.background = colour;
      const row = element("li");
      const field = element("label");
      const shown = name(label);
      if (!area) shown.classList.add("absent");
      field.append(box, swatch, shown, share(area));
      row.append(field);
      row.addEventListener("pointerenter", () => this.#light(position));
      row.addEventListener("pointerleave", () => this.#light(null));
      return row;
    }));
    $("regions").hidden = false;
  }

  #light(position) {
    this.viewer.lit = this.viewer.visible[position] ? position : null; // a hidden one dims no other
    this.viewer.draw();
  }

  #busy(isBusy) {
    $("run").disabled = isBusy;
    $("cancel").hidden = $("progress").hidden = !isBusy;
    if (isBusy) {
      $("bar").removeAttribute("value");
      $("progress-text").textContent = "Reading the labels and the picture";
    } else this.work = null;
  }

  #progress(done, total) {
    if (total > 1) $("bar").value = done / total;
    $("progress-text").textContent = total > 1 ? `View ${Math.min(done + 1, total)} of ${total}` : "Looking at the picture";
  }

  #stop() {
    this.work?.abort();
    this.#busy(false);
  }

  #addPresets() {
    for (const [title, labels] of Object.entries(PRESETS)) {
      const button = element("button", { type: "button", className: "link", textContent: title });
      button.addEventListener("click", () => this.chips.set(labels));
      $("presets").append(button);
    }
  }

  #listenForPictures() {
    const stage = $("stage");
    $("pick").addEventListener("click", () => $("file").click());
    $("another").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", () => {
      if ($("file").files[0]) this.open($("file").files[0]);
      $("file").value = "";
    });
    for (const type of ["dragenter", "dragover"]) {
      document.addEventListener(type, (event) => {
        event.preventDefault();
        stage.classList.add("over");
      });
    }
    for (const type of ["dragleave", "drop"]) {
      document.addEventListener(type, (event) => {
        event.preventDefault();
        stage.classList.remove("over");
      });
    }
    document.addEventListener("drop", (event) => this.#take(pictureOf(event.dataTransfer)));
    document.addEventListener("paste", (event) => this.#take(pictureOf(event.clipboardData)));
  }

  #take(file) {
    if (file && !$("panel-analyse").hidden) this.open(file);
  }

  #listenToControls() {
    $("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    $("cancel").addEventListener("click", () => this.#stop());
    $("opacity").addEventListener("input", () => {
      this.viewer.opacity = $("opacity").value / 100;
      $("opacity-value").textContent = `${$("opacity").value}%`;
      this.viewer.draw();
    });
    for (const [id, checked] of [["all", true], ["none", false]]) {
      $(id).addEventListener("click", () => {
        this.viewer.visible.fill(checked);
        for (const box of $("region-list").querySelectorAll("input")) box.checked = checked;
        this.viewer.draw();
      });
    }
    $("save").addEventListener("click", async () => {
      const link = element("a", { href: URL.createObjectURL(await this.viewer.toBlob()), download: "segments.png" });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    });
  }
}

function name(label) {
  return element("span", { className: "name", textContent: label, title: label });
}

function share(value) {
  const percent = 100 * value;
  const text = percent > 0 && percent < 0.1 ? "<0.1%" : `${percent.toFixed(1)}%`;
  return element("span", { className: "share", textContent: text });
}
