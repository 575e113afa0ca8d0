// Compares several tokens: pin A is the inspector's, Shift+click adds B to E. A letter stays with its token.

import { element } from "./dom.js";
import { fixed, sigmoid, tokenLabel } from "./format.js";
import { predictionDepth } from "./metrics.js";
import { currentLanguage, say } from "./words.js";

/** @import { Run } from "./run.js" */
/** @import { View } from "./strip.js" */
/** @import { Token } from "./types" */

const LETTERS = ["A", "B", "C", "D", "E"];
/** @type {Record<string, string>} */
const PIN_COLOURS = { B: "#d81b7a", C: "#d96b00", D: "#8a5a2b", E: "#5f6b7a" }; // colours that no depth has

export class Pins {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    /** @type {Record<string, number>} */
    this.others = {}; // letter: position
  }

  clear() {
    this.others = {};
  }

  /** @param {number} position */
  toggle(position) {
    if (position === this.view.pinned) return;
    const held = Object.keys(this.others).find((letter) => this.others[letter] === position);
    const free = LETTERS.slice(1).find((letter) => !(letter in this.others));
    if (held) delete this.others[held];
    else if (free) this.others[free] = position;
  }

  /** @returns {[string, number][]} */
  get all() { // [letter, position], A first
    /** @type {[string, number][]} */
    const others = LETTERS.filter((letter) => letter in this.others).map((letter) => [letter, this.others[letter]]);
    return this.view.pinned === null ? others : [["A", this.view.pinned], ...others];
  }

  /** @param {string} letter */
  colour(letter) {
    return PIN_COLOURS[letter] || this.view.theme().accent;
  }

  get text() {
    return this.all.map(([letter, position]) => `${letter}${position}`).join(".");
  }

  /** @param {string | undefined} text  @param {Run} run */
  restore(text, run) {
    this.clear();
    for (const part of text ? text.split(".") : []) {
      const position = Number(part.slice(1));
      if (!run.tokens[position]) continue;
      if (part[0] === "A") this.view.pinned = position;
      else if (LETTERS.includes(part[0])) this.others[part[0]] = position;
    }
  }

  /** @param {HTMLElement} root  @param {Run} run */
  draw(root, run) {
    const pins = this.all;
    const signature = [run.id, this.text, currentLanguage(), this.view.theme().text].join();
    if (root.dataset.for === signature) return;
    root.dataset.for = signature;
    root.hidden = pins.length < 2;
    root.replaceChildren();
    if (root.hidden) return;
    const table = element("table");
    table.dataset.testid = "pin-table";
    const head = element("tr");
    head.append(element("th", "", ""));
    for (const [letter, position] of pins) {
      const cell = element("th");
      const mark = element("b", "pin-mark", letter);
      mark.style.background = this.colour(letter);
      cell.append(mark, element("span", "pin-token", tokenLabel(run.tokens[position])));
      head.append(cell);
    }
    table.append(head);
    for (const [name, value] of this.rows(run)) {
      const row = element("tr");
      row.append(element("th", "", name));
      for (const [, position] of pins) row.append(element("td", "", value(run.tokens[position])));
      table.append(row);
    }
    root.append(table, element("p", "inspector-note", say("pins_note")));
  }

  /** @param {Run} run */
  rows(run) {
    /** @type {[string, (token: Token) => string][]} */
    const rows = [
      [say("pin_position"), (token) => String(token.position)],
      [say("metric_depth"), (token) => (token.recursion_depth === null ? "–" : String(token.recursion_depth))],
      [say("metric_prediction"), (token) => String(predictionDepth(token) ?? "–")],
    ];
    for (let index = 0; index < run.numRecursions; index += 1) {
      rows.push([say("metric_score", { number: index + 1 }), (token) => {
        const logit = token.router_logits[index] ?? null;
        if (logit === null) return "–";
        return fixed(run.header.router.chooses_once ? token.router_scores[index] : sigmoid(logit), 3);
      }]);
    }
    rows.push(
      [say("metric_kept"), (token) => (token.recursion_depth === null ? "–" : String(token.cached_slots.length))],
      [say("metric_surprise"), (token) => (token.log_probability === null ? "–" : fixed(-token.log_probability, 2))],
      [say("pin_next"), (token) => {
        const last = token.lens[token.lens.length - 1];
        if (!last) return "–";
        const shown = { text: last[0].text, token_bytes: "", special: last[0].text.startsWith("<|") };
        return `${tokenLabel(shown)} ${fixed(100 * last[0].probability, 0)}%`;
      }],
    );
    return rows;
  }
}
