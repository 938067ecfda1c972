// The second tab: words or a picture in, a grid of pictures out.

import { getBlob, postForm } from "./api.js";
import { $, element } from "./dom.js";
import { openPicture, pictureOf } from "./picture.js";

const FIRST = 24;
const FILTERS = ["folder", "since", "until"];

export class Search {
  constructor({ say, complain, onUse }) {
    Object.assign(this, { say, complain, onUse, hits: [], shown: 0, query: null, addresses: [] });
    $("search-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const words = $("query").value.trim();
      if (words) this.find({ field: ["text", words], title: `“${words}”` });
      else this.complain("Type what the pictures should show.");
    });
    $("by-picture").addEventListener("click", () => $("query-file").click());
    $("query-file").addEventListener("change", () => {
      this.#byPicture($("query-file").files[0]);
      $("query-file").value = "";
    });
    $("panel-search").addEventListener("drop", (event) => this.#byPicture(pictureOf(event.dataTransfer)));
    for (const name of FILTERS) {
      $(name).addEventListener("change", () => this.query && this.find(this.query));
    }
    $("no-filter").addEventListener("click", () => {
      for (const name of FILTERS) $(name).value = "";
      if (this.query) this.find(this.query);
    });
    $("more").addEventListener("click", () => this.find(this.query, 2 * this.hits.length));
    $("previous").addEventListener("click", () => this.#step(-1));
    $("next").addEventListener("click", () => this.#step(1));
    $("close").addEventListener("click", () => $("lightbox").close());
    $("use").addEventListener("click", () => this.#use());
    $("lightbox").addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") this.#step(-1);
      if (event.key === "ArrowRight") this.#step(1);
    });
  }

  setIndex(index, limits) {
    this.index = index;
    this.maxHits = limits.max_hits;
    for (const control of $("search-form").elements) control.disabled = !index;
    $("search-note").textContent = index
      ? `${index.num_pictures.toLocaleString("en")} pictures in ${index.name}`
      : "This server has no index to search. Make one with “dinotxt index FOLDER --out album.index”, then start “dinotxt serve --index album.index”.";
  }

  async find(query, count = FIRST) {
    this.work?.abort();
    const work = (this.work = new AbortController());
    this.complain(null);
    $("search-note").textContent = "Searching ...";
    try {
      const wanted = Math.min(count, this.maxHits);
      const filters = FILTERS.map((name) => [name, $(name).value.trim()]).filter(([, value]) => value);
      const response = await postForm("/v1/search", [query.field, ["k", wanted], ...filters], work.signal);
      this.query = query;
      this.#list((await response.json()).hits);
      const all = this.index.num_pictures.toLocaleString("en");
      const note = this.hits.length
        ? `${this.hits.length} best of ${filters.length ? "the chosen pictures" : all} for ${query.title}`
        : `No picture of ${all} is in that folder and time.`;
      $("search-note").textContent = note;
      this.say(note);
      $("more").hidden = this.hits.length < wanted || wanted >= Math.min(this.maxHits, this.index.num_pictures);
    } catch (error) {
      if (error.name === "AbortError") return;
      $("search-note").textContent = "";
      this.complain(error.message);
    }
  }

  async #byPicture(file) {
    if (!file) return;
    try {
      const { blob } = await openPicture(file);
      await this.find({ field: ["image", new File([blob], "picture")], title: "your picture" });
    } catch (error) {
      this.complain(error.message);
    }
  }

  #list(hits) {
    this.addresses.forEach((address) => URL.revokeObjectURL(address));
    this.addresses = [];
    this.hits = hits;
    $("grid").replaceChildren(...hits.map((hit, position) => {
      const picture = element("img", { alt: "" });
      this.#fill(picture, hit, 400);
      const file = hit.path.split("/").pop();
      const caption = element("span");
      caption.append(element("b", { textContent: file, title: hit.path }), element("i", { textContent: scoreText(hit.score) }));
      const tile = element("button", { type: "button", className: "tile" });
      tile.setAttribute("aria-label", `${file}, score ${scoreText(hit.score)}`);
      tile.append(picture, caption);
      tile.addEventListener("click", () => this.#open(position));
      const item = element("li");
      item.append(tile);
      return item;
    }));
  }

  async #fill(picture, hit, side) {
    try {
      const address = URL.createObjectURL(await getBlob(`${hit.picture}?side=${side}`, this.work?.signal));
      this.addresses.push(address);
      picture.src = address;
    } catch (error) {
      if (error.name !== "AbortError") picture.alt = error.message;
    }
  }

  #open(position) {
    this.shown = position;
    const hit = this.hits[position];
    $("lightbox-picture").removeAttribute("src");
    $("lightbox-picture").alt = `The picture ${hit.path}`;
    this.#fill($("lightbox-picture"), hit, 1600);
    $("lightbox-path").textContent = hit.path;
    $("lightbox-score").textContent = `score ${scoreText(hit.score)}, ${position + 1} of ${this.hits.length}`;
    $("previous").disabled = position === 0;
    $("next").disabled = position === this.hits.length - 1;
    if (!$("lightbox").open) $("lightbox").showModal();
  }

  #step(by) {
    const position = this.shown + by;
    if (position >= 0 && position < this.hits.length) this.#open(position);
  }

  async #use() {
    const hit = this.hits[this.shown];
    try {
      const blob = await getBlob(`${hit.picture}?side=1600`);
      $("lightbox").close();
      this.onUse(new File([blob], hit.path.split("/").pop(), { type: blob.type }));
    } catch (error) {
      $("lightbox").close();
      this.complain(error.message);
    }
  }
}

/** A score with three decimals; what rounds to zero has no sign. */
function scoreText(score) {
  return score.toFixed(3).replace(/^-(0\.000)$/, "$1");
}
