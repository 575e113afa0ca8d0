// Playback controls: follow a run, pause it, or replay it. The speed only delays what the model has already computed;
// every frame is the state after one call of the model.

import { element, setText } from "./dom.js";
import { currentLanguage, say } from "./words.js";

/** @import { Run } from "./run.js" */
/** @import { View } from "./strip.js" */

/** @type {[string, number | null][]} */
const SPEEDS = [["real", null], ["ten", 100], ["three", 1000 / 3], ["step", Infinity]]; // least milliseconds per token
const LONGEST_WAIT = 3000; // milliseconds; longer pauses are cut in a replay
// Runs that this page has shown. A new live run plays once; a recorded run, or one seen again, is shown at its end.
export const PLAYED = new Set();

export class Transport {
  /** @param {HTMLElement} root  @param {View} view */
  constructor(root, view) {
    this.root = root;
    this.view = view;
    this.speed = "real";
    this.paused = false;
    /** @type {ReturnType<typeof setTimeout> | null} */
    this.timer = null;
    this.received = -1; // the last frame that had arrived at the last check
    this.shownAt = 0; // the time at which the present frame appeared
    /** @type {(id: string, sign: string, act: () => void) => HTMLButtonElement} */
    const button = (id, sign, act) => {
      const node = element("button", "transport-button", sign);
      node.type = "button";
      node.dataset.testid = `transport-${id}`;
      node.onclick = act;
      return node;
    };
    this.play = button("play", "", () => this.toggle());
    this.back = button("back", "◁", () => this.step(-1));
    this.next = button("next", "▷", () => this.step(1));
    this.newest = button("newest", "⇥", () => this.toNewest());
    this.slider = element("input", "transport-slider");
    this.slider.type = "range";
    this.slider.min = "0";
    this.slider.dataset.testid = "transport-slider";
    this.slider.oninput = () => this.seek(Number(this.slider.value));
    this.where = element("span", "transport-where");
    this.where.dataset.testid = "transport-where";
    this.speeds = element("span", "transport-speeds");
    this.speeds.setAttribute("role", "group");
    this.speedButtons = SPEEDS.map(([name]) => {
      const node = button(`speed-${name}`, "", () => this.setSpeed(name));
      this.speeds.append(node);
      return node;
    });
    this.keys = element("div", "transport-keys");
    const line = element("div", "transport-line");
    line.append(this.back, this.play, this.next, this.newest, this.slider, this.where, this.speeds);
    this.root.replaceChildren(line, this.keys);
  }

  get run() {
    return this.view.run;
  }

  get shortest() {
    return SPEEDS.find(([name]) => name === this.speed)?.[1] ?? 0;
  }

  /** @param {Run} run  @param {boolean} plays */
  begin(run, plays) {
    this.cancel();
    this.paused = !plays;
    PLAYED.add(run.id);
    this.received = -1;
    this.shownAt = 0;
  }

  cancel() {
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
  }

  // Called when events of the run have arrived.
  arrived() {
    const { run } = this;
    const last = run.frames.length - 1;
    if (last < 0) return;
    const wasAtEnd = run.at === this.received;
    this.received = last;
    if (run.at < 0) this.show(this.speed === "real" || this.paused ? last : 0);
    else if (!this.paused && this.speed === "real" && wasAtEnd) this.show(last);
    else if (run.isFinished && run.at === last) this.show(last);
    this.schedule();
  }

  /** @param {number} at */
  show(at) {
    this.run.show(at);
    this.shownAt = performance.now();
    this.view.redraw();
  }

  schedule() {
    const { run } = this;
    if (this.timer || this.paused || this.speed === "step" || run.at < 0 || run.at >= run.frames.length - 1) return;
    const wait = this.wait(run.at + 1);
    this.timer = setTimeout(() => {
      this.timer = null;
      if (this.run !== run || this.paused) return;
      this.advance();
      this.schedule();
    }, Math.max(0, this.shownAt + wait - performance.now()));
  }

  // Milliseconds between a frame and the one before it.
  /** @param {number} at */
  wait(at) {
    const took = Math.min(this.run.frames[at].seconds * 1000, LONGEST_WAIT);
    return Math.max(took, this.shortest);
  }

  // Steps by as many frames as are due, since timers cannot be shorter than a few milliseconds but model calls can.
  advance() {
    const { run } = this;
    const late = performance.now() - this.shownAt;
    let spent = 0;
    let at = run.at;
    while (at < run.frames.length - 1) {
      spent += this.wait(at + 1);
      if (at > run.at && spent > late) break;
      at += 1;
    }
    this.show(at);
    if (run.isFinished && run.isAtEnd) this.paused = true;
  }

  toggle() {
    const { run } = this;
    if (run.at < 0) return;
    if (this.speed === "step") return this.step(1);
    if (run.isFinished && run.isAtEnd) {
      this.paused = false;
      this.show(0);
    } else {
      this.paused = !this.paused;
      this.shownAt = performance.now();
    }
    this.cancel();
    this.schedule();
    this.view.redraw();
  }

  /** @param {number} by */
  step(by) {
    this.seek(this.run.at + by);
  }

  /** @param {number} at */
  seek(at) {
    const { run } = this;
    if (run.at < 0) return;
    this.paused = true;
    this.show(Math.min(Math.max(at, 0), run.frames.length - 1));
  }

  // Jumps to the newest token; a run that is still going is followed from there.
  toNewest() {
    const { run } = this;
    if (run.at < 0) return;
    this.show(run.frames.length - 1);
    this.paused = run.isFinished;
    this.schedule();
  }

  /** @param {string} name */
  setSpeed(name) {
    if (this.speed === "step" && name !== "step") this.paused = this.run.isFinished && this.run.isAtEnd;
    this.speed = name;
    this.cancel();
    this.schedule();
    this.view.redraw();
  }

  get isPlaying() {
    const { run } = this;
    if (this.paused || this.speed === "step") return false;
    return !run.isFinished || !run.isAtEnd;
  }

  // Handles a key; returns whether it was a playback key.
  /** @param {KeyboardEvent} event */
  key(event) {
    if (this.root.hidden || isForAnother(event)) return false;
    const isSlider = event.composedPath()[0] === this.slider;
    /** @type {Record<string, number>} */
    const turns = this.view.data.present ? { PageDown: 1, PageUp: -1 } : {};
    /** @type {Record<string, number>} */
    const steps = { ArrowRight: 1, ArrowLeft: -1, ...turns };
    const by = steps[event.key];
    if (event.key === " ") this.toggle();
    else if (by !== undefined && !(isSlider && event.key.startsWith("Arrow"))) this.step(by);
    else return false;
    event.preventDefault();
    return true;
  }

  draw() {
    const { run } = this;
    const last = run.frames.length - 1;
    this.root.hidden = !this.view.data.live && last < 1; // nothing to play
    if (this.root.hidden) return;
    const waits = last < 1;
    for (const node of [this.play, this.back, this.next, this.newest, this.slider]) node.disabled = waits;
    this.back.disabled = waits || run.at <= 0;
    this.next.disabled = this.newest.disabled = waits || run.at >= last;
    this.slider.max = String(Math.max(last, 1));
    if (Number(this.slider.value) !== run.at) this.slider.value = String(Math.max(run.at, 0));
    const place = { shown: run.tokens.length, total: run.records.length };
    setText(this.where, waits ? "" : say("transport_where", place));
    this.slider.setAttribute("aria-valuetext", waits ? "" : say("transport_where", place));
    setText(this.play, this.isPlaying ? "❚❚" : "▶");
    this.root.dataset.playing = String(this.isPlaying);
    this.name();
  }

  name() {
    /** @type {[HTMLElement, string][]} */
    const words = [
      [this.play, say(this.isPlaying ? "transport_pause" : "transport_play")], [this.back, say("transport_back")],
      [this.next, say("transport_next")], [this.newest, say("transport_newest")], [this.slider, say("transport_slider")],
    ];
    for (const [node, text] of words) {
      node.title = text;
      node.setAttribute("aria-label", text);
    }
    this.speeds.setAttribute("aria-label", say("transport_speed"));
    this.speedButtons.forEach((node, index) => {
      const [name] = SPEEDS[index];
      setText(node, say(`transport_speed_${name}`));
      node.title = say(`transport_speed_${name}_help`);
      node.setAttribute("aria-pressed", String(name === this.speed));
    });
    const signature = `${currentLanguage()}:${Boolean(this.view.data.present)}`;
    if (this.keys.dataset.for === signature) return;
    this.keys.dataset.for = signature;
    this.keys.replaceChildren();
    const keys = [["␣", say("transport_key_space")], ["← →", say("transport_key_arrows")]];
    if (this.view.data.present) keys.push(["PgUp PgDn", say("transport_key_pages")], ["B", say("present_key_blank")]);
    for (const [key, text] of keys) this.keys.append(element("kbd", "", key), ` ${text}  `);
  }
}

// Whether the key is handled by a focused field, button or menu.
/** @param {KeyboardEvent} event */
export function isForAnother(event) {
  const path = /** @type {HTMLElement[]} */ (event.composedPath());
  const [target] = path;
  if (!target.closest || target.isContentEditable) return false;
  if (target.matches("input[type=range]")) return path.every((node) => !node.classList?.contains("transport"));
  return Boolean(target.closest("input, textarea, select, button, a, [role=slider], [role=radiogroup], [role=tablist], [role=option], [role=menu]"));
}
