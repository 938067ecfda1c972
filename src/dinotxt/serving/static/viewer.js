// The picture with its label map: colours, outlines, and the label under the pointer.

const NOTHING = 65535;
const STEP = 0.02; // of the picture's width, for each press of an arrow key

export class Viewer {
  constructor({ root, photo, overlay, tip, cross, onSay }) {
    Object.assign(this, { root, photo, overlay, tip, cross, onSay });
    this.opacity = 0.55;
    this.forget();
    root.addEventListener("pointermove", (event) => this.#probe(...this.#place(event)));
    root.addEventListener("pointerdown", (event) => this.#probe(...this.#place(event)));
    root.addEventListener("pointerleave", () => this.#hideTip());
    root.addEventListener("keydown", (event) => this.#onKey(event));
    root.addEventListener("blur", () => this.#hideTip());
  }

  show(bitmap) {
    for (const canvas of [this.photo, this.overlay]) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
    }
    this.photo.getContext("2d").drawImage(bitmap, 0, 0);
    this.root.style.setProperty("--ratio", bitmap.width / bitmap.height);
    this.forget();
    this.draw();
  }

  forget() {
    this.map = null;
    this.regions = [];
    this.visible = [];
    this.lit = null;
    this.point = [0.5, 0.5];
    this.#hideTip();
  }

  // A region has the run lengths of its mask, column by column, outside first.
  setResult({ width, height, labels }) {
    const map = new Uint16Array(width * height).fill(NOTHING);
    labels.forEach(({ counts }, position) => {
      let place = 0;
      counts.forEach((count, turn) => {
        if (turn % 2) {
          for (let i = place; i < place + count; i += 1) {
            map[(i % height) * width + Math.floor(i / height)] = position;
          }
        }
        place += count;
      });
    });
    Object.assign(this, { map, width, height, regions: labels, visible: labels.map(() => true), lit: null });
    this.overlay.width = width;
    this.overlay.height = height;
    this.draw();
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.#paint());
  }

  // The picture with its overlay, as a file.
  toBlob() {
    const canvas = document.createElement("canvas");
    canvas.width = this.photo.width;
    canvas.height = this.photo.height;
    const context = canvas.getContext("2d");
    context.drawImage(this.photo, 0, 0);
    context.drawImage(this.overlay, 0, 0, canvas.width, canvas.height);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  #paint() {
    const context = this.overlay.getContext("2d", { willReadFrequently: true });
    context.clearRect(0, 0, this.overlay.width, this.overlay.height);
    if (!this.map || !this.opacity) return;
    const { map, width, height } = this;
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const inside = new Uint32Array(NOTHING + 1);
    const edge = new Uint32Array(NOTHING + 1);
    this.regions.forEach(({ colour }, position) => {
      if (!this.visible[position]) return;
      const strength = this.lit === null || this.lit === position ? 1 : 0.25;
      inside[position] = abgr(colour, this.opacity * strength);
      edge[position] = abgr(colour, Math.min(1, this.opacity + 0.4) * strength);
    });
    const reach = Math.max(1, Math.round(Math.min(width, height) / 450));
    for (let y = 0; y < height; y += 1) {
      for (let x = 0, i = y * width; x < width; x += 1, i += 1) {
        const label = map[i];
        const isEdge = (x + reach < width && map[i + reach] !== label) || (x >= reach && map[i - reach] !== label)
          || (y + reach < height && map[i + reach * width] !== label) || (y >= reach && map[i - reach * width] !== label);
        pixels[i] = isEdge ? edge[label] : inside[label];
      }
    }
    context.putImageData(image, 0, 0);
  }

  #place(event) {
    const box = this.root.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  #labelAt(across, down) {
    if (!this.map) return null;
    const x = Math.min(this.width - 1, Math.max(0, Math.floor(across * this.width)));
    const y = Math.min(this.height - 1, Math.max(0, Math.floor(down * this.height)));
    return this.regions[this.map[y * this.width + x]] || { label: "unlabelled", colour: "#808080" };
  }

  #probe(across, down) {
    const found = this.#labelAt(across, down);
    if (!found || across < 0 || across > 1 || down < 0 || down > 1) return this.#hideTip();
    this.tip.hidden = false;
    this.tip.querySelector("i").style.background = found.colour;
    this.tip.querySelector("span").textContent = found.label;
    const box = this.root.getBoundingClientRect();
    const x = Math.min(across * box.width + 14, box.width - this.tip.offsetWidth - 4);
    const y = Math.min(down * box.height + 16, box.height - this.tip.offsetHeight - 4);
    this.tip.style.transform = `translate(${Math.max(4, x)}px, ${Math.max(4, y)}px)`;
    return found;
  }

  #onKey(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[event.key];
    if (!move || !this.map) return;
    event.preventDefault();
    const step = event.shiftKey ? 5 * STEP : STEP;
    this.point = this.point.map((value, axis) => Math.min(0.999, Math.max(0, value + move[axis] * step)));
    const [across, down] = this.point;
    const box = this.root.getBoundingClientRect();
    this.cross.hidden = false;
    this.cross.style.transform = `translate(${across * box.width}px, ${down * box.height}px)`;
    const found = this.#probe(across, down);
    if (found) this.onSay(found.label);
  }

  #hideTip() {
    this.tip.hidden = true;
    this.cross.hidden = true;
  }
}

function abgr(colour, alpha) {
  const value = parseInt(colour.slice(1), 16);
  const [red, green, blue] = [value >> 16, (value >> 8) & 255, value & 255];
  return ((Math.round(alpha * 255) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}
