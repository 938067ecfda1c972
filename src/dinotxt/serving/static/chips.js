// Labels as chips: typed, pasted, removed, all by keyboard if one likes.

export class Chips {
  constructor({ box, list, input, onChange }) {
    this.labels = [];
    this.list = list;
    this.input = input;
    this.onChange = onChange;
    box.addEventListener("click", (event) => {
      if (event.target === box) input.focus();
    });
    input.addEventListener("keydown", (event) => this.#onKey(event));
    input.addEventListener("input", () => {
      if (/[,\n]/.test(input.value)) this.commit();
    });
    input.addEventListener("paste", (event) => {
      const text = event.clipboardData.getData("text");
      if (!/[,\n]/.test(text)) return;
      event.preventDefault();
      this.add(text.split(/[,\n]/));
    });
    input.addEventListener("blur", () => this.commit());
  }

  commit() {
    const typed = this.input.value.split(/[,\n]/);
    this.input.value = "";
    this.add(typed);
  }

  set(labels) {
    this.labels = [];
    this.add(labels);
  }

  add(labels) {
    const before = this.labels.length;
    for (const label of labels.map((one) => one.trim())) {
      if (label && !this.labels.includes(label)) this.labels.push(label);
    }
    if (this.labels.length !== before || !before) this.#render();
  }

  #onKey(event) {
    if (event.key === "Enter" && this.input.value.trim()) {
      event.preventDefault();
      this.commit();
    } else if (event.key === "Backspace" && !this.input.value && this.labels.length) {
      this.#remove(this.labels.length - 1);
    }
  }

  #remove(position) {
    this.labels.splice(position, 1);
    this.#render();
    this.input.focus();
  }

  #render() {
    this.list.replaceChildren(...this.labels.map((label, position) => {
      const item = document.createElement("li");
      item.className = "chip";
      const name = document.createElement("span");
      name.textContent = label;
      name.title = label;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "\u2715";
      button.setAttribute("aria-label", `Remove ${label}`);
      button.addEventListener("click", () => this.#remove(position));
      item.append(name, button);
      return item;
    }));
    this.input.placeholder = this.labels.length ? "" : "road, tree, sky ...";
    this.onChange(this.labels);
  }
}
