// Heatmaps over the same positions on one canvas: recursion depth, prediction depth, router score, KV-cache occupancy.
// Columns are positions, recursion 1 is at the top. The axis has the run's expected final length from the start, so
// nothing rescales; of a long run only a window is drawn, which overview.js holds.

import { element, zoomOf } from "./dom.js";
import { fixed, mix, sigmoid, slotLabel, textOn } from "./format.js";
import { SCORE_HIGH, SCORE_LOW, predictionDepth } from "./metrics.js";
import { boundaries } from "./run.js";
import { currentLanguage, say } from "./words.js";

/** @import { SvgPen } from "./picture.js" */
/** @import { Run } from "./run.js" */
/** @import { View } from "./strip.js" */
/** @import { Theme, Token } from "./types" */
/** @typedef {CanvasRenderingContext2D | SvgPen} Pen what is drawn with: on the screen, or into a picture */
/** @typedef {{ x: number, y: number, width: number, height: number, row: number }} Cell */
/** @typedef {"depth" | "prediction" | "score" | "cache"} PanelName */
/** @typedef {{ name: PanelName, title: string, rows: string[], height: number, top: number }} Panel */

export const TITLE_HEIGHT = 34;
const AXIS_HEIGHT = 22;
const MIN_COLUMN = 5; // narrower columns are not legible; of a longer run a window is drawn
const MAX_COLUMN = 24;

export class Heatmaps {
  column = MAX_COLUMN; // pixels per position
  height = 0;
  drawnLayout = "";
  drawnFor = "";

  /** @param {HTMLElement} root  @param {View} view */
  constructor(root, view) {
    this.root = root;
    this.view = view;
    this.labels = element("div", "map-labels");
    this.scroller = element("div", "map-scroller");
    this.canvas = element("canvas", "map-canvas");
    this.canvas.dataset.testid = "heatmaps";
    this.canvas.setAttribute("role", "img");
    this.titles = element("div", "map-titles");
    this.scroller.append(this.canvas);
    root.replaceChildren(this.labels, this.scroller, this.titles);
    this.canvas.onclick = (event) => {
      const position = this.positionOf(event);
      if (position !== null) view.click(position, event);
    };
    this.canvas.onmousemove = (event) => view.hover(this.positionOf(event), event);
    this.canvas.onmouseleave = () => view.hover(null);
    this.theme = view.theme();
  }

  get span() {
    return this.view.overview;
  }

  /** @param {number} position */
  leftOf(position) {
    return (position - this.span.start) * this.column;
  }

  /** @param {MouseEvent} event */
  positionOf(event) {
    const box = this.canvas.getBoundingClientRect();
    const position = this.span.start + Math.floor((event.clientX - box.left) / zoomOf(this.canvas) / this.column);
    const run = this.view.run;
    return run && run.tokens[position] ? position : null;
  }

  /** @type {(run: Run) => Panel[]} */
  panels(run) {
    const recursions = Array.from({ length: run.numRecursions }, (_, index) => say("row_recursion", { number: index + 1 }));
    const rows = run.header.router.chooses_once ? recursions.map((_, index) => say("row_depth", { number: index + 1 })) : recursions;
    const slots = run.header.cache_slots.map(slotLabel);
    /** @type {Omit<Panel, "top">[]} */
    const panels = [
      { name: "depth", title: say("map_depth"), rows: recursions, height: 18 },
      ...(run.header.has_lens ? [{ name: /** @type {const} */ ("prediction"), title: say("map_prediction"), rows: [say("map_prediction_row")], height: 18 }] : []),
      { name: "score", title: say("map_score"), rows, height: 18 },
      { name: "cache", title: say("map_cache"), rows: slots, height: slots.length > 14 ? 9 : 13 },
    ];
    let bottom = 0;
    const placed = panels.map((panel) => {
      const top = bottom + TITLE_HEIGHT;
      bottom = top + panel.rows.length * panel.height;
      return { ...panel, top };
    });
    this.height = bottom + AXIS_HEIGHT;
    return placed;
  }

  /** @param {Run} run */
  layout(run) {
    const available = this.scroller.clientWidth;
    this.span.fit(run, Math.floor(available / MIN_COLUMN));
    const columns = this.span.end - this.span.start;
    this.column = Math.min(MAX_COLUMN, Math.max(MIN_COLUMN, available / columns));
    const width = Math.max(Math.round(columns * this.column), 1);
    const scale = (window.devicePixelRatio || 1) * zoomOf(this.canvas);
    const layout = [width, this.height, scale].join();
    if (layout !== this.drawnLayout) {
      this.canvas.width = width * scale;
      this.canvas.height = this.height * scale;
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${this.height}px`;
      this.drawnLayout = layout;
    }
    const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, this.height);
    return context;
  }

  /** @param {Run} run */
  update(run) {
    this.root.hidden = !run.header || !run.tokens.length;
    if (this.root.hidden) return;
    const panels = this.panels(run);
    if (this.drawnFor !== this.frameOf(run)) this.drawFrame(run, panels);
    const context = this.layout(run);
    this.theme = this.view.theme();
    for (const panel of panels) this.drawPanel(context, run, panel);
    this.drawVeil(context, run, panels);
    this.drawAxis(context, run, panels);
    this.drawFocus(context, panels);
    this.canvas.setAttribute("aria-label", this.summary(run));
  }

  /** @param {Pen} context  @param {Run} run  @param {Panel} panel */
  drawPanel(context, run, panel) {
    const inset = this.column > 9 ? 1 : 0.5;
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const token of run.tokens.slice(this.span.start, this.span.end)) {
      if (!token) continue;
      const left = Math.round(this.leftOf(token.position)); // whole pixels, so that cells have no seams
      const right = Math.round(this.leftOf(token.position + 1));
      for (let row = 0; row < panel.rows.length; row += 1) {
        const cell = {
          x: left, y: panel.top + row * panel.height, width: right - left - inset, height: panel.height - 1, row,
        };
        this[/** @type {const} */ (`${panel.name}Cell`)](context, run, token, cell);
      }
    }
  }

  /** @param {Pen} context  @param {Run} run  @param {Token} token  @param {Cell} cell */
  depthCell(context, run, token, cell) {
    const depth = token.recursion_depth;
    if (depth === null) return this.outline(context, cell);
    if (cell.row >= depth) return this.fill(context, cell, this.theme.empty);
    const colour = this.view.colourOf(depth);
    this.fill(context, cell, colour);
    if (cell.row === depth - 1 && this.column >= 9) {
      context.fillStyle = textOn(colour);
      context.font = `600 ${Math.min(11, this.column)}px ${this.theme.font}`;
      context.fillText(String(depth), cell.x + cell.width / 2, cell.y + cell.height / 2 + 0.5);
    }
  }

  /** @param {Pen} context  @param {Run} run  @param {Token} token  @param {Cell} cell */
  predictionCell(context, run, token, cell) {
    const depth = predictionDepth(token);
    if (depth === null) return this.outline(context, cell);
    const colour = this.view.colourOf(depth);
    this.fill(context, cell, colour);
    if (this.column < 9) return;
    context.fillStyle = textOn(colour);
    context.font = `600 ${Math.min(11, this.column)}px ${this.theme.font}`;
    context.fillText(String(depth), cell.x + cell.width / 2, cell.y + cell.height / 2 + 0.5);
  }

  /** @param {Pen} context  @param {Run} run  @param {Token} token  @param {Cell} cell */
  scoreCell(context, run, token, cell) {
    const logit = token.router_logits[cell.row] ?? null;
    if (token.recursion_depth === null) return this.outline(context, cell);
    if (logit === null) return this.hatch(context, cell);
    if (run.header.router.chooses_once) { // no threshold: a score for each depth, the chosen one marked
      this.fill(context, cell, mix(this.theme.neutral, SCORE_HIGH, token.router_scores[cell.row] ?? 0));
      if (token.recursion_depth === cell.row + 1) this.dot(context, cell);
      return;
    }
    const threshold = sigmoid(run.header.threshold_logits[cell.row] ?? 0);
    const score = sigmoid(logit);
    const share = score >= threshold ? (score - threshold) / (1 - threshold) : (threshold - score) / threshold;
    this.fill(context, cell, mix(this.theme.neutral, score >= threshold ? SCORE_HIGH : SCORE_LOW, share));
    if (token.recursion_depth > cell.row) this.dot(context, cell); // a dot if entered, beside the colour
  }

  /** @param {Pen} context  @param {Cell} cell */
  dot(context, cell) {
    context.fillStyle = "#ffffff";
    context.beginPath();
    context.arc(cell.x + cell.width / 2, cell.y + cell.height / 2, Math.min(2.2, this.column / 4), 0, 7);
    context.fill();
  }

  /** @param {Pen} context  @param {Run} run  @param {Token} token  @param {Cell} cell */
  cacheCell(context, run, token, cell) {
    if (token.recursion_depth === null) return this.outline(context, cell);
    const slot = run.header.cache_slots[cell.row];
    const kept = token.cached_slots.includes(cell.row);
    const colour = slot.recursion === null ? this.theme.muted : this.view.colourOf(slot.recursion);
    this.fill(context, cell, kept ? colour : this.theme.empty);
  }

  /** @param {Pen} context  @param {Cell} cell  @param {string} colour */
  fill(context, cell, colour) {
    context.fillStyle = colour;
    context.fillRect(cell.x, cell.y, cell.width, cell.height);
  }

  /** @param {Pen} context  @param {Cell} cell */
  outline(context, cell) {
    context.strokeStyle = this.theme.border;
    context.lineWidth = 1;
    context.strokeRect(cell.x + 0.5, cell.y + 0.5, cell.width - 1, cell.height - 1);
  }

  /** @param {Pen} context  @param {Cell} cell */
  hatch(context, cell) {
    context.strokeStyle = this.theme.border;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(cell.x + 1, cell.y + cell.height - 2);
    context.lineTo(cell.x + cell.width - 1, cell.y + 2);
    context.stroke();
  }

  /** @param {Pen} context  @param {Run} run  @param {Panel[]} panels */
  drawAxis(context, run, panels) {
    const bottom = this.height - AXIS_HEIGHT;
    const every = [5, 10, 20, 50].find((step) => step * this.column >= 60) || 100;
    context.fillStyle = this.theme.muted;
    context.font = `11px ${this.theme.font}`;
    context.textBaseline = "top";
    context.textAlign = "left";
    for (let position = Math.ceil(this.span.start / every) * every; position < this.span.end; position += every) {
      context.fillRect(this.leftOf(position), bottom, 1, 4);
      context.fillText(String(position), this.leftOf(position) + 3, bottom + 5);
    }
    context.fillStyle = this.theme.text;
    const first = run.tokens.findIndex((token) => token && token.phase === "decode");
    for (const panel of panels) { // the titles between the panels stay readable
      const tall = panel.rows.length * panel.height;
      if (first > this.span.start) context.fillRect(this.leftOf(first) - 1, panel.top - 2, 1.5, tall + 3); // the prompt ends
      for (const position of boundaries(run).filter((at) => at > this.span.start && at < this.span.end)) {
        for (let y = -3; y < tall; y += 6) context.fillRect(this.leftOf(position) - 1, panel.top + y, 1.5, 3);
      }
    }
  }

  /** @param {Pen} context  @param {Run} run  @param {Panel[]} panels */
  drawVeil(context, run, panels) { // over the tokens that the filters leave out
    const { filters } = this.view;
    if (!filters.isOn) return;
    context.fillStyle = this.theme.isDark ? "rgba(14, 17, 23, .76)" : "rgba(255, 255, 255, .78)";
    for (const token of run.tokens.slice(this.span.start, this.span.end)) {
      if (!token || filters.matches(token)) continue;
      for (const panel of panels) context.fillRect(this.leftOf(token.position), panel.top, this.column, panel.rows.length * panel.height);
    }
  }

  /** @param {CanvasRenderingContext2D} context  @param {Panel[]} panels */
  drawFocus(context, panels) {
    /** @type {[number, string, string][]} */
    const marks = this.view.pins.all.map(([letter, position]) => [position, this.view.pins.colour(letter), letter]);
    if (this.view.hovered !== null) marks.push([this.view.hovered, this.theme.text, ""]);
    for (const [position, colour, letter] of marks) {
      if (position < this.span.start || position >= this.span.end || !this.view.run.tokens[position]) continue;
      context.strokeStyle = colour;
      context.lineWidth = 2;
      const left = this.leftOf(position);
      for (const panel of panels) context.strokeRect(left - 1, panel.top - 1, this.column + 1, panel.rows.length * panel.height + 1);
      if (letter && marks.length > 1 && this.view.pins.all.length > 1) this.letter(context, letter, colour, left);
    }
  }

  /** @param {Pen} context  @param {string} letter  @param {string} colour  @param {number} left */
  letter(context, letter, colour, left) {
    context.fillStyle = colour;
    context.fillRect(left - 1, this.height - AXIS_HEIGHT + 1, 12, 13);
    context.fillStyle = "#ffffff";
    context.font = `700 10px ${this.theme.font}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(letter, left + 5, this.height - AXIS_HEIGHT + 8);
  }

  /** @param {number} position */
  reveal(position) {
    this.span.include(position);
  }

  /** @param {Run} run */
  summary(run) {
    const decoded = run.depths("decode");
    const counts = Array.from({ length: run.numRecursions }, (_, i) => decoded.filter((d) => d === i + 1).length);
    return say("map_summary", {
      count: run.tokens.length,
      mean: fixed(run.meanDepth(), 2),
      total: run.numRecursions,
      counts: counts.join(", "),
      entries: run.cacheEntries.join(", ") || "–",
    });
  }

  // Row labels, panel titles and their legends: elements beside and above the canvas, made once per run.
  /** @param {Run} run  @param {Panel[]} panels */
  drawFrame(run, panels) {
    this.drawnFor = this.frameOf(run);
    this.labels.replaceChildren();
    this.titles.replaceChildren();
    this.root.style.height = `${this.height + 14}px`;
    for (const panel of panels) {
      panel.rows.forEach((row, index) => {
        const label = element("span", "map-label", row);
        label.style.top = `${panel.top + index * panel.height}px`;
        label.style.lineHeight = `${panel.height - 1}px`;
        label.style.fontSize = panel.height < 12 ? "9px" : "11px";
        this.labels.append(label);
      });
      const title = element("div", "map-title");
      title.style.top = `${panel.top - TITLE_HEIGHT + 8}px`;
      title.append(element("b", "", panel.title), ...this[/** @type {const} */ (`${panel.name}Legend`)](run));
      this.titles.append(title);
    }
  }

  /** @param {Run} run */
  frameOf(run) {
    return [run.id, currentLanguage(), run.header.has_lens, this.view.theme().text].join();
  }

  predictionLegend() {
    return [element("span", "legend-text", say("map_prediction_note"))];
  }

  /** @param {Run} run */
  depthLegend(run) {
    return Array.from({ length: run.numRecursions }, (_, index) => this.swatch(this.view.colourOf(index + 1), say("depth", { number: index + 1 })));
  }

  /** @param {Run} run */
  scoreLegend(run) {
    if (run.header.router.chooses_once) {
      const ramp = element("span", "ramp");
      ramp.style.background = `linear-gradient(90deg, var(--neutral), ${SCORE_HIGH})`;
      const words = [say("legend_scores"), say("legend_taken")];
      return [element("span", "legend-text", "0"), ramp, ...words.map((text) => element("span", "legend-text", text))];
    }
    const logits = run.header.threshold_logits;
    const decided = logits.filter((logit) => logit !== null);
    const ramp = element("span", "ramp");
    ramp.style.background = `linear-gradient(90deg, ${SCORE_LOW}, var(--neutral), ${SCORE_HIGH})`;
    const middle = decided.length ? say("threshold", { scores: [...new Set(decided.map((z) => fixed(sigmoid(z), 2)))].join(" / ") }) : "0.50";
    const parts = [element("span", "legend-text", "0"), ramp, element("span", "legend-text", say("legend_middle", { middle }))];
    const notes = [say("legend_entered"), say("legend_not_computed")];
    if (!decided.length) notes.push(say("legend_no_threshold", { rule: run.header.routing.name.replace("_", "-") }));
    else if (logits[0] === null) notes.push(say("legend_takes_all"));
    return [...parts, ...notes.map((note) => element("span", "legend-text", note))];
  }

  /** @param {Run} run */
  cacheLegend(run) {
    const recursions = [...new Set(run.header.cache_slots.map((slot) => slot.recursion))].filter((r) => r !== null);
    return [
      this.swatch(this.view.theme().muted, say("legend_unshared")),
      ...recursions.map((recursion) => this.swatch(this.view.colourOf(recursion), say("recursion", { number: recursion }))),
      this.swatch(this.view.theme().empty, say("legend_not_kept")),
    ];
  }

  /** @param {string} colour  @param {string} text */
  swatch(colour, text) {
    const node = element("span", "legend-text");
    const box = element("i", "swatch");
    box.style.background = colour;
    node.append(box, text);
    return node;
  }
}
