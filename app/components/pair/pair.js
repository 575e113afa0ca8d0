// Two finished runs one below the other: rows A, B and the difference, one column per piece, wrapped into lines like text.
// After the shared text, each run's rest follows. The default export runs again on every change of data or theme.

import { element } from "../../../mor_core/page/strip/dom.js";
import { fixed, tokenLabel } from "../../../mor_core/page/strip/format.js";
import { withHiddenWords } from "../../../mor_core/page/strip/hidden.js";
import { SIDES, sideLetter, signed, tokenMark, valueLegend } from "./marks.js";
import { say, setLanguage } from "../../../mor_core/page/strip/words.js";

/** @import { Component } from "../../../mor_core/page/strip/types" */
/** @import { PairData, PairToken } from "./types" */

/** @type {WeakMap<HTMLElement, PairView>} */
const VIEWS = new WeakMap();
/** @type {Record<string, number>} */
const STEPS = { ArrowRight: 1, j: 1, ArrowLeft: -1, k: -1 };
const LESS = "#2166ac"; // B spends less; the same pair as in app/charts/compare.py
const MORE = "#b2182b";

// Returns the data for presenter mode, with hidden words replaced by blocks.
/** @type {(data: PairData) => PairData} */
function withSidesHidden(data) {
  const [first, second] = data.sides.map((side) => ({ ...side, tokens: withHiddenWords(side.tokens, false).tokens }));
  return { ...data, sides: [first, second] };
}

class PairView {
  /** @type {{ hovered: number | null, pinned: number | null }} */
  focus = { hovered: null, pinned: null }; // indices of pieces
  data = /** @type {PairData} */ (/** @type {any} */ (null));
  drawn = "";
  /** @type {HTMLElement[]} */
  cells = [];
  /** @type {Set<number>} */
  ends = new Set(); // indices of pieces that end a line of text
  /** @type {number[] | null} */
  widths = null; // of the cells, in pixels

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    /** @type {(name: string) => HTMLElement} */
    this.part = (name) => /** @type {HTMLElement} */ (root.querySelector(`[data-part="${name}"]`));
    this.lines = this.part("lines");
    this.lines.onclick = (event) => this.pin(this.pieceAt(event));
    this.lines.onmouseover = (event) => this.hover(this.pieceAt(event));
    this.lines.onmouseleave = () => this.hover(null);
    this.lines.onkeydown = (event) => this.key(event);
    this.width = 0;
    this.observer = new ResizeObserver(() => this.wrap());
    this.observer.observe(root);
  }

  close() {
    this.observer.disconnect();
  }

  /** @param {PairData} data */
  receive(data) {
    const signature = `${data.pair}:${data.language}:${data.present}`;
    if (signature === this.drawn) return;
    this.drawn = signature;
    this.data = data.present ? withSidesHidden(data) : data;
    setLanguage(data.language);
    this.focus = { hovered: null, pinned: null };
    this.lines.setAttribute("aria-label", say("lines_label"));
    this.drawHeads();
    this.drawLegend();
    this.drawPieces();
    this.focus.pinned = this.largest();
    this.drawParting();
    this.showDetail();
  }

  drawHeads() {
    const heads = this.data.sides.map((side, index) => {
      const head = element("div", "head");
      head.append(sideLetter(index), element("span", "name", side.name), element("span", "quiet", side.about));
      return head;
    });
    const badge = element("span", "badge", say(`badge_${this.data.badge}`));
    badge.dataset.badge = this.data.badge;
    heads[0].prepend(badge);
    this.part("heads").replaceChildren(...heads);
  }

  drawLegend() {
    const { colours, unit } = this.data;
    const hint = element("span", "quiet", say(`digit_${unit}`));
    const scale = element("span", "legend-item");
    for (const value of [-2, -1, 0, 1, 2]) {
      const box = element("i", "swatch");
      box.style.background = this.difference((value * this.data.span) / 2);
      scale.append(box);
    }
    scale.append(say("legend_difference"));
    this.part("legend").replaceChildren(...valueLegend(colours, unit), hint, scale);
  }

  drawPieces() {
    const { sides, pieces } = this.data;
    let generated = false;
    this.ends.clear();
    this.cells = pieces.map(([firstA, endA, firstB, endB, difference], index) => {
      const tokens = [sides[0].tokens.slice(firstA, endA), sides[1].tokens.slice(firstB, endB)];
      const cell = element("span", "cell");
      cell.dataset.piece = String(index);
      cell.dataset.testid = "piece";
      cell.dataset.difference = difference === null ? "" : String(difference);
      cell.setAttribute("role", "option");
      cell.setAttribute("aria-label", this.describe(tokens, difference));
      for (const run of tokens) {
        const row = element("span", "row");
        row.append(...run.map((token) => tokenMark(token, this.data.colours)));
        cell.append(row);
      }
      const mark = element("b", "difference", difference === null ? "" : signed(difference));
      mark.style.background = this.difference(difference);
      mark.classList.toggle("strong", this.share(difference) > 0.55);
      cell.append(mark);
      const decodes = tokens.flat().some((token) => token.phase === "decode");
      if (decodes && !generated) cell.classList.add("first-generated");
      generated = generated || decodes;
      if (tokens.flat().some((token) => token.text.includes("\n"))) this.ends.add(index);
      return cell;
    });
    this.widths = null;
    this.wrap(true);
  }

  // Distributes the cells over lines; each line starts with the names of its rows.
  /** @param {boolean} [anew] */
  wrap(anew = false) {
    const available = this.lines.clientWidth;
    if (!this.drawn || !available || (!anew && available === this.width)) return;
    this.width = available;
    if (!this.widths) {
      const measured = element("div", "line measured");
      measured.append(...this.cells);
      this.lines.replaceChildren(measured);
      this.widths = this.cells.map((cell) => cell.getBoundingClientRect().width + 2);
    }
    const { widths } = this;
    /** @type {HTMLElement[]} */
    const lines = [];
    let left = 0;
    this.cells.forEach((cell, index) => {
      if (!lines.length || widths[index] > left || this.ends.has(index - 1)) {
        lines.push(this.newLine());
        left = available - 46;
      }
      left -= widths[index];
      lines[lines.length - 1].append(cell);
    });
    this.lines.replaceChildren(...lines);
  }

  newLine() {
    const line = element("div", "line");
    const names = element("span", "names");
    const row = element("b", "difference-name", "B−A");
    names.append(sideLetter(0), sideLetter(1), row);
    line.append(names);
    return line;
  }

  drawParting() {
    const { sides, pieces, diverges } = this.data;
    const rests = sides.map((side) => side.tokens.slice(side.rest));
    const goesOn = rests.some((rest) => rest.length);
    const parting = this.part("parting");
    parting.hidden = !goesOn;
    parting.dataset.diverges = String(diverges);
    const alone = SIDES[rests[0].length ? 0 : 1];
    const words = diverges
      ? say(pieces.length ? "parting" : "nothing_shared")
      : say("goes_on", { run: alone });
    parting.replaceChildren(element("span", "", words));
    const root = this.part("rests");
    root.hidden = !goesOn;
    root.replaceChildren(...rests.map((rest, side) => this.drawRest(rest, side)));
  }

  /** @param {PairToken[]} tokens  @param {number} side */
  drawRest(tokens, side) {
    const node = element("div", "rest");
    const head = element("div", "head");
    head.append(sideLetter(side), element("span", "quiet", say("alone", { count: tokens.length })));
    const text = element("div", "flow");
    for (const token of tokens) {
      text.append(tokenMark(token, this.data.colours));
      if (token.text.includes("\n")) text.append(element("span", "line-break"));
    }
    node.append(head, text);
    return node;
  }

  // Returns the piece that is selected at first: the one with the largest difference.
  largest() {
    const sizes = this.data.pieces.map((piece) => Math.abs(piece[4] ?? 0));
    const most = Math.max(...sizes, 0);
    return most ? sizes.indexOf(most) : null;
  }

  /** @param {number | null} difference */
  share(difference) {
    return difference === null ? 0 : Math.abs(difference) / Math.max(this.data.span, 1);
  }

  /** @param {number | null} value */
  difference(value) {
    if (!value) return "transparent";
    const share = Math.round(100 * Math.min(1, 0.25 + 0.75 * this.share(value)));
    return `color-mix(in srgb, ${value < 0 ? LESS : MORE} ${share}%, var(--st-background-color))`;
  }

  /** @param {PairToken[][]} tokens  @param {number | null} difference */
  describe(tokens, difference) {
    const [ours, theirs] = tokens.map((run) => run.map((token) => `${tokenLabel(token)} ${token.value ?? "?"}`).join(" "));
    return say("piece_label", { a: ours || "–", b: theirs || "–", difference: difference === null ? "–" : signed(difference) });
  }

  /** @param {MouseEvent} event */
  pieceAt(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const cell = /** @type {HTMLElement | null} */ (target.closest("[data-piece]"));
    return cell ? Number(cell.dataset.piece) : null;
  }

  /** @param {number | null} piece */
  hover(piece) {
    this.focus.hovered = piece;
    this.showDetail();
  }

  /** @param {number | null} piece */
  pin(piece) {
    this.focus.pinned = this.focus.pinned === piece ? null : piece;
    this.showDetail();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const step = STEPS[event.key];
    if (event.key === "Escape") this.focus.pinned = null;
    else if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    else {
      const before = this.focus.pinned ?? (step > 0 ? -1 : this.cells.length);
      this.focus.pinned = Math.min(Math.max(before + step, 0), this.cells.length - 1);
      this.cells[this.focus.pinned].scrollIntoView({ block: "nearest" });
    }
    event.preventDefault();
    this.showDetail();
  }

  showDetail() {
    const { hovered, pinned } = this.focus;
    this.cells.forEach((cell, index) => {
      cell.classList.toggle("hovered", index === hovered);
      cell.classList.toggle("pinned", index === pinned);
    });
    const piece = hovered ?? pinned;
    const root = this.part("detail");
    root.dataset.piece = piece === null ? "" : String(piece);
    if (piece === null) return root.replaceChildren(element("p", "quiet", say("detail_hint")));
    const [firstA, endA, firstB, endB, difference] = this.data.pieces[piece];
    const rows = [[firstA, endA], [firstB, endB]].map(([first, end], side) => this.detailRow(side, first, end));
    const delta = element("p", "", difference === null ? "" : say(`difference_${this.data.unit}`, { difference: signed(difference) }));
    return root.replaceChildren(...rows, delta);
  }

  /** @param {number} side  @param {number} first  @param {number} end */
  detailRow(side, first, end) {
    const run = this.data.sides[side];
    const tokens = run.tokens.slice(first, end);
    const row = element("p", "detail-row");
    row.append(sideLetter(side));
    const text = element("span", "detail-text", tokens.map(tokenLabel).join(" · ") || "–");
    const parts = tokens.map((token) => [
      say("position", { position: token.position }),
      token.depth === null ? say("no_depth_yet") : say("depth_of", { depth: token.depth, total: run.recursions }),
      token.log_probability === null ? "" : say("probability", { percent: fixed(100 * Math.exp(token.log_probability), 2) }),
    ].filter((part) => part).join(" · "));
    row.append(text, element("span", "quiet", parts.join(" | ")));
    return row;
  }
}

/** @param {Component<PairData>} component */
export default function render(component) {
  const { parentElement, data } = component;
  let view = VIEWS.get(parentElement);
  if (!view) {
    view = new PairView(/** @type {HTMLElement} */ (parentElement.querySelector(".mor-pair")));
    VIEWS.set(parentElement, view);
  }
  view.receive(data);
  return () => {
    if (parentElement.isConnected) return; // Streamlit also cleans up after a superseded call; the view stays
    view.close();
    VIEWS.delete(parentElement);
  };
}
