// The text as coloured units: tokens, words or lines. By token it is append-only: a node is made once, and changed once
// when its depth becomes known. Words and lines show the mean of their tokens.

import { element } from "./dom.js";
import { textOn, tokenLabel, tokenPieces } from "./format.js";
import { boundaries, unitsOf } from "./run.js";
import { say } from "./words.js";

/** @import { Run } from "./run.js" */
/** @import { View } from "./strip.js" */
/** @import { Filters } from "./toolbar.js" */
/** @import { Pins } from "./pins.js" */
/** @import { Token, TokenNode } from "./types" */

/** @type {WeakMap<Element, () => string[]>} */
const DIVIDED = new WeakMap(); // the label beside a divider, in the viewer's language

export class TokenList {
  /** @type {TokenNode[]} */
  nodes = []; // by position; the tokens of a unit share a node
  /** @type {Token[][]} */
  units = [];
  /** @type {HTMLElement | null} */
  divider = null;
  follows = true;
  ownScroll = false;

  /** @param {HTMLElement} root  @param {View} view */
  constructor(root, view) {
    this.root = root;
    this.view = view;
    this.root.onclick = (event) => {
      const position = this.positionOf(event);
      if (position !== null) view.click(position, event);
    };
    this.root.onmousedown = (event) => { if (event.shiftKey) event.preventDefault(); }; // pins, selects no text
    this.root.onmouseover = (event) => view.hover(this.positionOf(event), event);
    this.root.onmouseleave = () => view.hover(null);
    this.root.onscroll = () => {
      const below = this.root.scrollHeight - this.root.scrollTop - this.root.clientHeight;
      this.follows = below < 40;
      if (this.ownScroll) this.ownScroll = false;
      else if (this.nodes.length) view.scrolled(this.firstVisible());
    };
    root.replaceChildren();
  }

  reset() {
    this.root.replaceChildren();
    this.nodes = [];
    this.units = [];
    this.divider = null;
    this.follows = true;
    this.ownScroll = false;
  }

  /** @param {MouseEvent} event */
  positionOf(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const node = /** @type {HTMLElement | null} */ (target.closest("[data-position]"));
    return node ? Number(node.dataset.position) : null;
  }

  /** @param {Run} run */
  update(run) {
    this.trim(run.tokens.length);
    const arrivesWhole = run.isFinished && !this.nodes.length; // a recording is shown from its first token
    const positions = [...run.changed].sort((a, b) => a - b);
    if (this.view.granularity === "token") {
      for (const position of positions) if (run.tokens[position]) this.draw(run, [run.tokens[position]]);
    } else if (positions.length) this.rebuild(run);
    if (positions.length && this.follows && !arrivesWhole) this.scrollTo(this.root.scrollHeight);
  }

  /** @param {number} length */
  trim(length) { // after stepping back
    for (const position of this.nodes.keys()) if (position >= length) this.nodes[position]?.remove();
    this.nodes.length = Math.min(this.nodes.length, length);
    this.units.length = Math.min(this.units.length, length);
    for (const breaking of this.root.querySelectorAll(".line-break")) {
      if (!(/** @type {HTMLElement | null} */ (breaking.previousElementSibling)?.dataset.position)) breaking.remove();
    }
    if (this.divider && !this.divider.nextElementSibling) {
      this.divider.remove();
      this.divider = null;
    }
  }

  /** @param {Run} run */
  rebuild(run) { // after other units were chosen
    const top = this.root.scrollTop;
    const { follows } = this;
    this.reset();
    this.follows = follows;
    this.root.dataset.granularity = this.view.granularity;
    for (const unit of unitsOf(run, this.view.granularity)) this.draw(run, unit);
    this.scrollTo(top);
  }

  /** @param {Run} run  @param {Token[]} unit */
  draw(run, unit) {
    const token = unit[0];
    let node = this.nodes[token.position];
    if (!node) {
      node = this.make(unit);
      for (const part of unit) this.nodes[part.position] = node;
      if (token.phase === "decode" && !this.divider) {
        this.divider = this.divide("phase-divider", () => [say("prompt"), say("generated")]);
        this.root.append(this.divider);
      }
      if (boundaries(run).includes(token.position)) {
        this.root.append(this.divide("window-divider", () => [say("window_ends"), say("window_begins")]));
      }
      this.root.append(node);
      if (unit.some((part) => part.text.includes("\n"))) this.root.append(element("span", "line-break"));
    }
    this.write(node, unit);
    this.units[token.position] = unit;
    this.paint(run, unit, node);
  }

  /** @param {string} name  @param {() => string[]} words */
  divide(name, words) {
    const node = element("span", "divider");
    const [before, after] = words();
    node.append(element("i", "", before), element("b", "", "│"), element("i", "", after));
    node.dataset.testid = name;
    DIVIDED.set(node, words);
    return node;
  }

  /** @param {Run} run  @param {Token[]} unit  @param {TokenNode} node */
  paint(run, unit, node) {
    const { metric } = this.view;
    const value = unit.length === 1 ? metric.of(unit[0]) : metric.mean(unit);
    const colour = metric.colour(value);
    const depth = unit.length === 1 ? unit[0].recursion_depth : null;
    node.dataset.depth = depth === null ? "" : String(depth);
    node.classList.toggle("pending", unit.some((token) => token.recursion_depth === null));
    node.classList.toggle("absent", value === null && !node.classList.contains("pending"));
    node.style.setProperty("--token-colour", colour || "transparent");
    node.style.setProperty("--token-text", colour ? textOn(colour) : "inherit");
    node.children[1].textContent = metric.sign(value);
    this.describe(run, unit, node, value);
  }

  /** @param {Run} run */
  repaint(run) { // after another metric was chosen
    for (const unit of this.units) if (unit) this.paint(run, unit, this.nodes[unit[0].position]);
  }

  /** @param {Run} run  @param {Token[]} unit  @param {TokenNode} node  @param {number | null} value */
  describe(run, unit, node, value) {
    const { metric } = this.view;
    const text = unit.map(tokenLabel).join("");
    const depth = unit[0].recursion_depth;
    const spent = metric.name === "depth" && unit.length === 1
      ? (depth === null ? say("no_depth_yet") : say("depth_of", { depth, total: run.numRecursions }))
      : `${metric.label()} ${value === null ? say("not_computed") : metric.sign(value)}`;
    node.setAttribute("aria-label", `${text}, ${spent}`);
  }

  /** @param {Run} run */
  translate(run) { // after the viewer changed the language; tokens drawn later use it anyway
    for (const divider of this.root.querySelectorAll(".divider")) {
      const [before, after] = DIVIDED.get(divider)?.() ?? [];
      const [first, , last] = divider.children;
      [first.textContent, last.textContent] = [before, after];
    }
    this.repaint(run);
  }

  /** @param {Token[]} unit */
  make(unit) {
    const [token] = unit;
    const node = element("span", token.special ? "token special" : "token");
    node.dataset.testid = "token";
    node.dataset.position = String(token.position);
    node.dataset.phase = token.phase;
    node.setAttribute("role", "option");
    node.append(element("span", "text"), element("span", "digit"));
    return node;
  }

  /** @param {TokenNode} node  @param {Token[]} unit */
  write(node, unit) { // also again, when presenter mode hides a word
    const written = unit.map((token) => token.text).join("");
    if (node.written === written) return;
    node.written = written;
    const pieces = unit.flatMap(tokenPieces);
    node.children[0].replaceChildren(...pieces.map((piece) => element("span", piece.mark ? "mark" : "", piece.text)));
  }

  /** @param {number | null} pinned  @param {number | null} hovered */
  focus(pinned, hovered) {
    /** @type {[string, number | null][]} */
    const marked = [["pinned", pinned], ["hovered", hovered]];
    for (const [name, position] of marked) {
      const before = this.root.querySelector(`.${name}`);
      if (before) before.classList.remove(name);
      const node = position === null ? null : this.nodes[position];
      if (node) node.classList.add(name);
    }
  }

  /** @param {Pins} pins */
  mark(pins) { // the letters of the pins, if there are several
    for (const node of /** @type {NodeListOf<HTMLElement>} */ (this.root.querySelectorAll("[data-pin]"))) delete node.dataset.pin;
    if (pins.all.length < 2) return;
    for (const [letter, position] of pins.all) {
      if (!this.nodes[position]) continue;
      this.nodes[position].dataset.pin = letter;
      this.nodes[position].style.setProperty("--pin-colour", pins.colour(letter));
    }
  }

  /** @param {Filters} filters */
  filter(filters) { // filtered-out tokens stay readable but are dimmed
    this.root.classList.toggle("filtered", filters.isOn);
    for (const unit of this.units) {
      if (unit) this.nodes[unit[0].position].classList.toggle("out", filters.isOn && !unit.some((token) => filters.matches(token)));
    }
  }

  /** @param {Set<number> | null} positions */
  attend(positions) { // the set of positions that a token can attend to, or null
    this.root.classList.toggle("attending", positions !== null);
    for (const unit of this.units) {
      if (unit) this.nodes[unit[0].position].classList.toggle("attended", positions !== null && unit.some((token) => positions.has(token.position)));
    }
  }

  /** @param {number} top */
  scrollTo(top) {
    const before = this.root.scrollTop;
    this.ownScroll = true;
    this.root.scrollTop = top;
    if (this.root.scrollTop === before) this.ownScroll = false; // no scroll event will follow
  }

  /** @param {number} position */
  show(position) { // at the top of the list
    const node = this.nodes[position];
    if (node) this.scrollTo(this.root.scrollTop + node.getBoundingClientRect().top - this.root.getBoundingClientRect().top - 8);
  }

  firstVisible() {
    const { top } = this.root.getBoundingClientRect();
    let [low, high] = [0, this.nodes.length - 1];
    while (low < high) { // positions grow downwards
      const middle = Math.floor((low + high) / 2);
      if (this.nodes[middle].getBoundingClientRect().bottom < top) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** @param {number} position */
  reveal(position) {
    const node = this.nodes[position];
    if (!node) return;
    const list = this.root.getBoundingClientRect();
    const box = node.getBoundingClientRect();
    if (box.top < list.top) this.scrollTo(this.root.scrollTop - (list.top - box.top + 8));
    if (box.bottom > list.bottom) this.scrollTo(this.root.scrollTop + (box.bottom - list.bottom + 8));
  }
}
