// For a run longer than the heatmaps can show: draws the whole run on one line, with the window that the heatmaps draw.
// Each pixel covers whole tokens and shows both their maximum and their mean, so that no token is left out silently.

import { element, setText, zoomOf } from "./dom.js";
import { boundaries } from "./run.js";
import { say } from "./words.js";

/** @import { Run } from "./run.js" */
/** @import { View } from "./strip.js" */

const MAX_WINDOW = 256;
const MIN_WINDOW = 16;
const OVERVIEW_HEIGHT = 44;
const GRIP = 6; // pixels at an end of the window that resize it

export class Overview {
  start = 0; // of the window
  end = 0;
  /** @type {number | null} */
  size = null; // as chosen by the reader
  /** @type {{ offset: number } | { start: number } | { end: number } | null} */
  held = null; // what the pointer drags: the window, or one of its ends
  total = 0;
  most = MAX_WINDOW; // columns that the heatmaps have room for
  width = 1;
  isNeeded = false;

  /** @param {HTMLElement} root  @param {View} view */
  constructor(root, view) {
    this.root = root;
    this.view = view;
    this.canvas = element("canvas", "overview-canvas");
    this.canvas.dataset.testid = "overview";
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "slider");
    this.note = element("p", "overview-note");
    root.replaceChildren(this.canvas, this.note);
    this.canvas.onpointerdown = (event) => this.grasp(event);
    this.canvas.onpointermove = (event) => this.drag(event);
    this.canvas.onpointerup = () => { this.held = null; };
    this.canvas.onkeydown = (event) => this.key(event);
  }

  reset() {
    this.start = 0;
    this.end = 0;
    this.size = null;
    this.held = null;
    this.total = 0;
  }

  // Fits the window to the run; `most` is how many columns the heatmaps have room for.
  /** @param {Run} run  @param {number} most */
  fit(run, most) {
    this.total = run.numColumns;
    this.most = Math.min(Math.max(most, MIN_WINDOW), MAX_WINDOW);
    this.isNeeded = this.total > this.most;
    const size = this.isNeeded ? Math.min(this.size ?? this.most, this.most) : this.total;
    const newest = run.isFinished && run.isAtEnd ? this.start : Math.max(0, run.tokens.length + 8 - size);
    this.start = Math.max(0, Math.min(newest, this.total - size));
    this.end = this.start + size;
  }

  /** @param {number} start */
  moveTo(start) {
    this.start = Math.round(start);
    this.view.windowMoved();
  }

  /** @param {number} position */
  include(position) {
    if (position >= this.start && position < this.end) return;
    this.moveTo(position - (this.end - this.start) / 2);
  }

  get perPixel() { // tokens per pixel; below 1, a token is wider than a pixel
    return this.total / this.width > 1 ? Math.ceil(this.total / this.width) : 1 / Math.max(1, Math.floor(this.width / this.total));
  }

  /** @param {PointerEvent} event */
  positionOf(event) {
    const box = this.canvas.getBoundingClientRect();
    return ((event.clientX - box.left) / zoomOf(this.canvas)) * this.perPixel;
  }

  /** @param {PointerEvent} event */
  grasp(event) {
    const at = this.positionOf(event);
    const grip = GRIP * this.perPixel;
    this.canvas.setPointerCapture(event.pointerId);
    if (Math.abs(at - this.start) < grip) this.held = { end: this.end };
    else if (Math.abs(at - this.end) < grip) this.held = { start: this.start };
    else {
      if (at < this.start || at > this.end) this.moveTo(at - (this.end - this.start) / 2);
      this.held = { offset: at - this.start };
    }
  }

  /** @param {PointerEvent} event */
  drag(event) {
    const at = this.positionOf(event);
    if (!this.held) return;
    if ("offset" in this.held) return void this.moveTo(at - this.held.offset);
    const fixedEnd = "end" in this.held ? this.held.end : this.held.start;
    this.size = Math.round(Math.min(Math.max(Math.abs(at - fixedEnd), MIN_WINDOW), this.most));
    this.moveTo("end" in this.held ? fixedEnd - this.size : fixedEnd);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const step = Math.round((this.end - this.start) / 4);
    /** @type {Record<string, number>} */
    const places = { ArrowLeft: this.start - step, ArrowRight: this.start + step, Home: 0, End: this.total };
    const to = places[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.moveTo(to);
  }

  /** @param {Run} run */
  update(run) {
    this.root.hidden = !this.isNeeded;
    if (this.root.hidden) return;
    this.width = Math.max(this.root.clientWidth, 1);
    const width = Math.ceil(this.total / this.perPixel);
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = width * scale;
    this.canvas.height = OVERVIEW_HEIGHT * scale;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${OVERVIEW_HEIGHT}px`;
    const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    context.setTransform(scale, 0, 0, scale, 0, 0);
    this.drawColumns(context, run, width);
    this.drawMarks(context, run, width);
    const n = this.perPixel;
    const how = n >= 1 ? say(n === 1 ? "overview_pixel" : "overview_pixels", { n }) : say("overview_token", { n: Math.round(1 / n) });
    const range = say("overview_window", { first: this.start, last: this.end - 1, total: run.tokens.length });
    setText(this.note, `${this.view.metric.label()}. ${how} ${range}`);
    this.canvas.setAttribute("aria-label", say("overview_label"));
    for (const [name, value] of [["valuemin", 0], ["valuemax", this.total - 1], ["valuenow", this.start], ["valuetext", range]]) {
      this.canvas.setAttribute(`aria-${name}`, String(value));
    }
  }

  /** @param {CanvasRenderingContext2D} context  @param {Run} run  @param {number} width */
  drawColumns(context, run, width) {
    const { metric } = this.view;
    const theme = this.view.theme();
    const height = OVERVIEW_HEIGHT - 2;
    const n = Math.max(1, this.perPixel);
    const column = Math.max(1, 1 / this.perPixel);
    context.fillStyle = theme.empty;
    context.fillRect(0, 0, width, OVERVIEW_HEIGHT);
    const means = [];
    for (let first = 0; first < run.tokens.length; first += n) {
      const values = run.tokens.slice(first, first + n).map((token) => metric.of(token)).filter((value) => value !== null);
      const x = (first / n) * column;
      if (!values.length) continue;
      const most = Math.max(...values);
      const tall = (height * Math.min(most, metric.top)) / metric.top;
      context.fillStyle = metric.colour(most) ?? theme.empty;
      context.fillRect(x, OVERVIEW_HEIGHT - tall, column, tall);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      means.push([x + column / 2, OVERVIEW_HEIGHT - (height * Math.min(mean, metric.top)) / metric.top]);
    }
    if (n === 1) return; // the mean of one token is its column
    context.fillStyle = theme.text;
    for (const [x, y] of means) context.fillRect(x - column / 2, y - 1, column, 2);
  }

  /** @param {CanvasRenderingContext2D} context  @param {Run} run  @param {number} width */
  drawMarks(context, run, width) {
    const theme = this.view.theme();
    const left = this.start / this.perPixel;
    const right = this.end / this.perPixel;
    context.fillStyle = theme.isDark ? "rgba(14, 17, 23, .62)" : "rgba(255, 255, 255, .66)";
    context.fillRect(0, 0, left, OVERVIEW_HEIGHT);
    context.fillRect(right, 0, width - right, OVERVIEW_HEIGHT);
    context.strokeStyle = theme.accent;
    context.lineWidth = 2;
    context.strokeRect(left + 1, 1, right - left - 2, OVERVIEW_HEIGHT - 2);
    context.fillStyle = theme.text;
    for (const position of boundaries(run)) {
      for (let y = 0; y < OVERVIEW_HEIGHT; y += 6) context.fillRect(position / this.perPixel, y, 1, 3);
    }
    for (const [letter, position] of this.view.pins.all) {
      context.fillStyle = this.view.pins.colour(letter);
      context.fillRect(position / this.perPixel - 1, 0, 3, 7);
    }
  }
}
