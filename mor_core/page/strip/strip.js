// The component: takes data from Python, reads a live run's events, and keeps pin and hover.
// The default export runs again on every change of data or theme; the view persists for the life of a mount.

import { drawCounters, drawStatus } from "./counters.js";
import { setText } from "./dom.js";
import { Feed } from "./feed.js";
import { drawForeignNote } from "./foreign.js";
import { fixed, levelColour, sigmoid, tokenLabel } from "./format.js";
import { Heatmaps } from "./heatmaps.js";
import { drawInspector } from "./inspector.js";
import { drawLegend } from "./legend.js";
import { Metric } from "./metrics.js";
import { Overview } from "./overview.js";
import { drawPictureButtons } from "./picture.js";
import { Pins } from "./pins.js";
import { Presenter } from "./presenter.js";
import { Run, attendable } from "./run.js";
import { TokenList } from "./tokens.js";
import { Filters, Toolbar } from "./toolbar.js";
import { PLAYED, Transport } from "./transport.js";
import { currentLanguage, say, setLanguage } from "./words.js";

/** @import { Batch, Component, Granularity, Scales, StripData, Theme, Token, Tools } from "./types" */

/** @type {WeakMap<HTMLElement, View>} */
const VIEWS = new WeakMap();
const NO_DEPTH = "#8a8f99"; // a token that took no recursion (first capacity below 1)

export class View {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    /** @type {(name: string) => HTMLElement} */
    this.part = (name) => /** @type {HTMLElement} */ (root.querySelector(`[data-part="${name}"]`));
    /** @type {number | null} */
    this.pinned = null;
    /** @type {number | null} */
    this.hovered = null;
    /** @type {Run} */
    this.main = /** @type {any} */ (null); // the run that Python names; before its first data there is none
    /** @type {Run} */
    this.run = /** @type {any} */ (null); // the one that is drawn
    /** @type {StripData} */
    this.data = /** @type {any} */ (null);
    /** @type {Scales} */
    this.colours = {};
    /** @type {Granularity} */
    this.granularity = "token";
    /** @type {number | null} */
    this.attending = null; // the recursion whose readable positions are marked
    /** @type {number | null | undefined} */
    this.asked = undefined; // the pin that a chart of the page requested last
    this.hasTools = false;
    /** @type {string[]} */
    this.classLabels = [];
    /** @type {Set<number>} */
    this.present = new Set(); // token classes that occur in the run
    /** @type {Feed | undefined} */
    this.feed = undefined;
    /** @type {Component["setStateValue"]} */
    this.setState = () => {};
    /** @type {Component["setTriggerValue"]} */
    this.setTrigger = () => {};
    this.textShown = this.inspected = ""; // keys of the text and of the token that are drawn now
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.reportTimer = undefined;
    /** @type {number | null} */
    this.frame = null;
    /** @type {Theme | undefined} */
    this.look = undefined;
    this.metric = new Metric(this);
    this.filters = new Filters(this);
    this.pins = new Pins(this);
    this.list = new TokenList(this.part("tokens"), this);
    this.overview = new Overview(this.part("overview"), this);
    this.toolbar = new Toolbar(this.part("tools"), this);
    this.maps = new Heatmaps(this.part("maps"), this);
    this.transport = new Transport(this.part("transport"), this);
    this.presenter = new Presenter(this);
    this.observer = new ResizeObserver(() => this.redraw());
    this.observer.observe(this.part("maps"));
    /** @type {(event: KeyboardEvent) => void} */
    this.onKey = (event) => this.key(event);
    document.addEventListener("keydown", this.onKey);
  }

  close() {
    this.feed?.close();
    this.observer.disconnect();
    this.transport.cancel();
    this.presenter.close();
    clearTimeout(this.reportTimer);
    document.removeEventListener("keydown", this.onKey);
  }

  /** @param {Component} component */
  receive(component) {
    const { data, setStateValue, setTriggerValue } = component;
    this.data = data;
    this.readTools(data);
    if (currentLanguage() !== data.language) {
      setLanguage(data.language);
      if (this.run) this.list.translate(this.run);
    }
    this.part("tokens").setAttribute("aria-label", say("tokens_label"));
    this.part("inspector").setAttribute("aria-label", say("inspector_label"));
    this.setState = setStateValue;
    this.setTrigger = setTriggerValue;
    const isRecoloured = this.recolour(data.colours);
    if (!this.main || this.main.id !== data.run || isRecoloured) this.begin(data);
    this.presenter.receive(data);
    this.hide(Boolean(data.present));
    this.feed?.receive([data]);
    this.takePin(data.tools?.pin ?? null);
    this.redraw();
  }

  /** @param {StripData} data */
  begin(data) {
    this.feed?.close();
    const main = new Run(data.run);
    this.main = main;
    this.feed = new Feed([main], {
      arrived: (_, batch) => this.arrived(batch),
      refused: () => this.setState("unreachable", main.id),
      ask: (question) => this.setState("asks", question),
    });
    this.reported = false;
    this.watch(this.main, data.live && !PLAYED.has(data.run));
    this.presenter.hear();
  }

  // Draws this run from now on: Python's run, or a recorded one in its place.
  /** @param {Run} run  @param {boolean} plays */
  watch(run, plays) {
    run.hides = Boolean(this.data.present);
    this.run = run;
    for (const position of run.tokens.keys()) run.changed.add(position);
    this.transport.begin(run, plays);
    this.pinned = null;
    this.hovered = null;
    this.attending = null;
    this.pins.clear();
    this.filters.clear();
    this.overview.reset();
    this.list.reset();
    this.list.attend(null);
    this.isRestored = false; // restore the link's settings once per run
    this.part("counters").replaceChildren();
    this.transport.arrived();
    this.redraw();
  }

  /** @param {boolean} hides */
  hide(hides) {
    const { run } = this;
    if (run.hides === hides) return;
    run.hides = hides;
    if (run.at >= 0) run.show(run.at);
  }

  get badge() {
    return this.run === this.main ? this.data.badge : "RECORDED";
  }

  /** @param {Batch} batch */
  arrived(batch) {
    const { main } = this;
    if (batch.events.length || main.isFinished) this.presenter.hear();
    if (this.run === main) this.transport.arrived();
    if (main.isFinished && this.data.stream && !this.reported) { // otherwise Python sees the end itself
      this.reported = true;
      this.setTrigger("finished", main.id);
    }
    this.redraw();
  }

  redraw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    const run = this.run;
    if (!run) return;
    this.readTheme(); // once per frame, since reading styles forces a style computation
    this.root.dataset.run = run.id;
    this.root.style.setProperty("--neutral", this.theme().neutral);
    drawStatus(this.part("status"), run, this.badge);
    drawCounters(this.part("counters"), run);
    this.part("legend").style.visibility = run.header ? "" : "hidden"; // its counts belong to the previous run
    if (run.header) {
      this.restore();
      this.toolbar.draw(run);
      drawLegend(this.part("legend"), run, this);
      this.list.update(run);
    }
    run.changed.clear();
    this.list.focus(this.pinned, this.hovered);
    this.list.mark(this.pins);
    if (this.textShown === run.id) {
      this.maps.update(run);
      if (!this.part("maps").hidden) this.overview.update(run);
    } else this.redraw(); // the text first, the heatmaps one frame later
    this.textShown = run.id;
    this.pins.draw(this.part("pins"), run);
    this.transport.draw();
    this.presenter.draw();
    drawPictureButtons(this.part("pictures"), this);
    drawForeignNote(this.part("foreign"), run);
    setText(this.part("hidden"), run.numHidden ? say("hidden_note", { count: run.numHidden }) : "");
    this.root.dataset.pinned = String(this.pinned !== null);
    this.inspect();
  }

  inspect() {
    const position = this.hovered ?? this.pinned;
    const token = position === null ? null : this.run.tokens[position] ?? null;
    const signature = [this.run.id, position, token?.recursion_depth, this.pinned, this.attending, this.run.header?.has_lens, this.theme().text, currentLanguage()].join();
    if (signature === this.inspected) return;
    this.inspected = signature;
    drawInspector(this.part("inspector"), this, token, position !== null && position === this.pinned);
  }

  /** @param {number | null} position  @param {MouseEvent} [event] */
  hover(position, event) {
    if (position !== this.hovered) {
      this.hovered = position;
      this.redraw();
    }
    const tip = this.part("tip");
    tip.hidden = position === null;
    if (position === null || !event) return;
    const token = this.run.tokens[position];
    const spent = token.recursion_depth === null
      ? say("no_depth_yet") : say("depth_of", { depth: token.recursion_depth, total: this.run.numRecursions });
    const scores = token.router_logits.map((logit) => (logit === null ? "–" : fixed(sigmoid(logit), 2))).join(" / ");
    tip.textContent = say("tip", { token: tokenLabel(token), spent, position, scores });
    const box = this.root.getBoundingClientRect();
    tip.style.left = `${Math.min(event.clientX - box.left + 14, box.width - 210)}px`;
    tip.style.top = `${event.clientY - box.top + 18}px`;
  }

  /** @param {number | null} position */
  pin(position) {
    this.pinned = position;
    if (position !== null) {
      this.list.reveal(position);
      this.maps.reveal(position);
    }
    this.showAttending();
    this.redraw();
    this.report();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.run || !this.run.tokens.length) return;
    if (this.presenter.key(event) || this.transport.key(event)) return;
    const target = /** @type {HTMLElement} */ (event.composedPath()[0]);
    if (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName)) return;
    const name = event.key.toLowerCase();
    const last = this.run.tokens.length - 1;
    if (name === "escape" && this.pins.all.length) {
      this.pins.clear();
      this.pin(null);
    }
    if (name === "j") this.pin(this.pinned === null ? 0 : Math.min(this.pinned + 1, last));
    if (name === "k") this.pin(this.pinned === null ? last : Math.max(this.pinned - 1, 0));
  }

  // Returns whether the viewer has chosen another palette; the run is then redrawn completely.
  /** @param {Scales} colours */
  recolour(colours) {
    const isOther = JSON.stringify(this.colours) !== JSON.stringify(colours);
    this.colours = colours;
    if (!isOther || !this.main) return false;
    for (const node of /** @type {NodeListOf<HTMLElement>} */ (this.root.querySelectorAll("[data-for]"))) node.dataset.for = "";
    this.inspected = "";
    return true;
  }

  /**
   * @overload
   * @param {number} depth
   * @returns {string}
   *
   * @overload
   * @param {number | null} depth
   * @returns {string | null}
   */
  /** @param {number | null} depth */
  colourOf(depth) {
    if (depth === null || !this.run.header) return null;
    if (depth === 0) return NO_DEPTH;
    return levelColour(this.colours, depth, this.run.numRecursions);
  }

  theme() {
    return this.look ?? this.readTheme();
  }

  readTheme() {
    const style = getComputedStyle(this.root);
    /** @type {(name: string, otherwise: string) => string} */
    const read = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
    const text = style.color;
    const isDark = Math.max(...(text.match(/\d+/g) || [0]).slice(0, 3).map(Number)) > 127;
    this.look = {
      isDark,
      text,
      font: read("--st-font", "sans-serif"),
      accent: read("--st-primary-color", "#ff4b4b"),
      border: isDark ? "#565d6b" : "#c3c8d0",
      muted: isDark ? "#8d95a5" : "#7b8494",
      empty: isDark ? "#262a33" : "#eceef2",
      neutral: isDark ? "#3b404b" : "#f1f2f4",
    };
    return this.look;
  }

  // The reader's choices besides the pin: metric, units, filters, further pins, window. Python gets them for the link.
  /** @param {StripData} data */
  readTools(data) {
    this.hasTools = Boolean(data.tools);
    this.classLabels = data.tools ? data.tools.class_labels : [];
    this.present = new Set(data.tools ? data.tools.classes : []);
  }

  /** @param {Token} token */
  classOf(token) {
    return this.data.tools ? this.data.tools.classes[token.position] : null;
  }

  restore() { // restore the link's settings once per run
    if (this.isRestored || !this.run.tokens.length) return;
    this.isRestored = true;
    /** @type {Partial<Tools["view"]>} */
    const asked = this.data.tools ? this.data.tools.view : {};
    if (asked.metric) this.metric.choose(asked.metric);
    if (this.metric.name === "prediction" && !this.run.header.has_lens) this.metric.choose("depth");
    if (asked.granularity) this.granularity = asked.granularity;
    this.list.root.dataset.granularity = this.granularity;
    this.pins.restore(asked.pins, this.run);
    if (asked.window) [this.overview.start, this.overview.size] = [asked.window[0], asked.window[1] - asked.window[0]];
    requestAnimationFrame(() => {
      if (asked.window) this.list.show(this.overview.start);
      if (this.pinned !== null) this.list.reveal(this.pinned);
    });
  }

  /** @param {number} position  @param {MouseEvent} event */
  click(position, event) {
    if (!event.shiftKey || this.pinned === null) return this.pin(this.pinned === position ? null : position);
    this.pins.toggle(position);
    this.redraw();
    return this.report();
  }

  /** @param {string} id */
  setMetric(id) {
    this.metric.choose(id);
    this.list.repaint(this.run);
    this.redraw();
    this.report();
  }

  /** @param {Granularity} name */
  setGranularity(name) {
    this.granularity = name;
    this.list.rebuild(this.run);
    this.filterChanged();
    this.showAttending();
    this.report();
  }

  filterChanged() {
    this.list.filter(this.filters);
    this.redraw();
  }

  /** @param {number | null} position */
  takePin(position) { // when a chart of the page requests it, once
    if (position === this.asked) return;
    this.asked = position;
    if (position !== null && this.run.tokens[position]) this.pin(position);
  }

  /** @param {number | null} recursion */
  attend(recursion) {
    this.attending = recursion;
    this.showAttending();
    this.redraw();
  }

  showAttending() {
    const token = this.pinned === null ? null : this.run.tokens[this.pinned];
    const { attending } = this;
    const isKnown = token && attending !== null && token.recursion_depth !== null && token.recursion_depth >= attending;
    this.list.attend(isKnown ? new Set(attendable(this.run, token.position, attending).found) : null);
  }

  windowMoved() { // the reader moved the window: the text follows
    this.redraw();
    requestAnimationFrame(() => this.list.show(this.overview.start));
    this.report();
  }

  /** @param {number} position */
  scrolled(position) { // the reader scrolled the text: the window follows
    if (!this.overview.isNeeded || !this.run.isFinished || !this.run.isAtEnd) return;
    this.overview.start = position;
    this.redraw();
    this.report();
  }

  report() { // once the choices stop changing
    clearTimeout(this.reportTimer);
    this.reportTimer = setTimeout(() => {
      const { run, pinned, overview } = this;
      this.setState("pin", { run: run.id, position: pinned });
      if (!this.hasTools) return;
      const window = overview.isNeeded ? [overview.start, overview.end] : null;
      this.setState("view", { run: run.id, metric: this.metric.id, granularity: this.granularity, pins: this.pins.text, window });
    }, 300);
  }
}

/** @param {Component} component */
export default function render(component) {
  const { parentElement } = component;
  let view = VIEWS.get(parentElement);
  if (!view) {
    view = new View(/** @type {HTMLElement} */ (parentElement.querySelector(".mor-strip")));
    VIEWS.set(parentElement, view);
  }
  view.receive(component);
  return () => {
    if (parentElement.isConnected) return; // Streamlit also ends a call that a newer one has replaced
    view.close();
    VIEWS.delete(parentElement);
  };
}
