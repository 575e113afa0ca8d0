// Two runs that are generated at the same time. Each reads its own events; the counters compare them.
// There is one view per mounted element; the default export runs again on every change of data or theme.

import { statusText } from "../../../mor_core/page/strip/counters.js";
import { element, setText } from "../../../mor_core/page/strip/dom.js";
import { Feed } from "../../../mor_core/page/strip/feed.js";
import { fixed, formatBytes, formatFlops } from "../../../mor_core/page/strip/format.js";
import { SIDES, paintToken, sideLetter, tokenMark, valueLegend, writeToken } from "./marks.js";
import { Run } from "../../../mor_core/page/strip/run.js";
import { currentLanguage, say, setLanguage } from "../../../mor_core/page/strip/words.js";

/** @import { Component, Token } from "../../../mor_core/page/strip/types" */
/** @import { LaneData, RaceData, RaceToken } from "./types" */
/** @typedef {{ numbers: number[], texts: string[], label: string, note: string }} Figure content of a tile: both values as numbers and as text */
/** @typedef {ReturnType<RaceView["makeTile"]>} Tile */

/** @type {WeakMap<HTMLElement, RaceView>} */
const VIEWS = new WeakMap();
const SAME_SPEED = 0.02; // relative difference below which both count as equally fast

// One run of the race and its text. A token's node is created once and repainted when its depth arrives.
class Lane {
  run = new Run(""); // a placeholder until the first run begins
  /** @type {HTMLElement[]} */
  nodes = []; // by position
  /** @type {HTMLElement | null} */
  divider = null;
  follows = true;
  data = /** @type {LaneData} */ (/** @type {any} */ (null));

  /** @param {RaceView} race  @param {number} side */
  constructor(race, side) {
    this.race = race;
    this.side = side;
    this.node = element("section", "lane");
    this.node.dataset.testid = `lane-${side}`;
    const head = element("div", "head");
    this.name = element("span", "name");
    this.chip = element("span", "chip");
    this.chip.dataset.testid = `chip-${side}`;
    this.status = element("span", "quiet");
    this.status.setAttribute("role", "status");
    head.append(sideLetter(side), this.name, this.chip, this.status);
    this.text = element("div", "flow");
    this.text.onscroll = () => {
      this.follows = this.text.scrollHeight - this.text.scrollTop - this.text.clientHeight < 40;
    };
    this.node.append(head, this.text);
  }

  /** @param {LaneData} data */
  begin(data) {
    this.run = new Run(data.run);
    this.nodes = [];
    this.divider = null;
    this.follows = true;
    this.text.replaceChildren();
  }

  get seconds() {
    return this.run.frames.reduce((sum, frame) => sum + frame.seconds, 0);
  }

  get secondsPerToken() {
    return this.run.decodeTokens ? this.run.decodeSeconds / this.run.decodeTokens : null;
  }

  draw() {
    const { run } = this;
    this.node.dataset.status = run.status.name;
    setText(this.name, this.data.name);
    setText(this.status, statusText(run));
    for (const position of [...run.changed].sort((a, b) => a - b)) this.drawToken(run.tokens[position]);
    const arrived = run.changed.size;
    run.changed.clear();
    if (arrived && this.follows && this.race.data.live) this.text.scrollTop = this.text.scrollHeight;
    if (this.divider) setText(this.divider.children[1], say("generated"));
  }

  /** @param {Token} record */
  drawToken(record) {
    if (!record) return;
    const depth = record.recursion_depth;
    /** @type {RaceToken} */
    const token = { ...record, value: depth === null ? null : this.data.values[depth] };
    const { colours } = this.race.data;
    if (this.nodes[token.position]) {
      writeToken(this.nodes[token.position], token);
      paintToken(this.nodes[token.position], token, colours);
      return;
    }
    if (token.phase === "decode" && !this.divider) {
      this.divider = element("span", "divider");
      this.divider.append(element("b", "", "│"), element("i", "", say("generated")));
      this.text.append(this.divider);
    }
    const node = tokenMark(token, colours);
    node.dataset.position = String(token.position);
    this.nodes[token.position] = node;
    this.text.append(node);
    if (token.text.includes("\n")) this.text.append(element("span", "line-break"));
  }
}

class RaceView {
  data = /** @type {RaceData} */ (/** @type {any} */ (null));
  reported = false;
  legendOf = "";
  /** @type {Feed | undefined} */
  feed = undefined;
  /** @type {number | null} */
  frame = null;
  /** @type {Component["setStateValue"]} */
  set = () => {};
  /** @type {Component["setTriggerValue"]} */
  trigger = () => {};

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    /** @type {(name: string) => HTMLElement} */
    this.part = (name) => /** @type {HTMLElement} */ (root.querySelector(`[data-part="${name}"]`));
    this.lanes = [new Lane(this, 0), new Lane(this, 1)];
    this.part("lanes").append(...this.lanes.map((lane) => lane.node));
    this.tiles = ["tokens", "flops", "kv", "seconds"].map((id) => this.makeTile(id));
    this.part("tiles").append(...this.tiles.map((tile) => tile.node));
  }

  close() {
    this.feed?.close();
    if (this.frame) cancelAnimationFrame(this.frame);
  }

  /** @param {string} id */
  makeTile(id) {
    const node = element("div", "tile");
    node.dataset.testid = `race-${id}`;
    const label = element("span", "tile-label");
    const rows = SIDES.map((_, side) => {
      const row = element("div", "tile-row");
      const bar = element("span", `bar side-${side}`);
      const value = element("b", "tile-value");
      const fill = element("i");
      bar.append(fill);
      row.append(sideLetter(side), bar, value);
      return { node: row, bar: fill, value };
    });
    const note = element("span", "quiet");
    node.append(label, ...rows.map((row) => row.node), note);
    return { id, node, label, rows, note };
  }

  /** @param {Component<RaceData>} component */
  receive(component) {
    const { data, setStateValue, setTriggerValue } = component;
    this.set = setStateValue;
    this.trigger = setTriggerValue;
    setLanguage(data.language);
    if (this.data?.race !== data.race) {
      this.reported = false;
      this.lanes.forEach((lane, side) => lane.begin(data.lanes[side]));
      this.feed?.close();
      this.feed = new Feed(this.lanes.map((lane) => lane.run), {
        arrived: (run) => this.arrived(run),
        refused: () => this.set("unreachable", data.race),
        ask: (question) => this.set("asks", question),
      });
    }
    this.data = data;
    this.root.dataset.race = data.race;
    this.lanes.forEach((lane, side) => { lane.data = data.lanes[side]; });
    this.feed?.receive(data.lanes);
    this.redraw();
  }

  get isFinished() {
    return this.lanes.every((lane) => lane.run.isFinished);
  }

  /** @param {Run} run */
  arrived(run) {
    run.hides = Boolean(this.data.present);
    if (run.frames.length) run.show(run.frames.length - 1);
    if (this.isFinished && this.data.lanes[0].stream && !this.reported) { // without a stream, Python knows the end itself
      this.reported = true;
      this.trigger("finished", this.data.race);
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
    this.drawLegend();
    this.lanes.forEach((lane) => lane.draw());
    this.tiles.forEach((tile) => this.drawTile(tile, this.figure(tile.id)));
    const slower = this.data.live ? this.slower() : null; // recorded runs were not timed side by side
    this.lanes.forEach((lane, side) => {
      const isSlower = slower !== null && slower.side === side;
      lane.chip.hidden = !isSlower;
      setText(lane.chip, isSlower ? say("slower", { factor: fixed(slower.factor, 2) }) : "");
    });
    setText(this.part("note"), `${say("race_note")} ${say(this.data.live ? "race_shared" : "race_recorded")}`);
  }

  drawLegend() {
    const { colours, unit, badge } = this.data;
    const signature = [this.data.race, currentLanguage(), badge].join();
    if (signature === this.legendOf) return;
    this.legendOf = signature;
    const mark = element("span", "badge", say(`badge_${badge}`));
    mark.dataset.badge = badge;
    this.part("legend").replaceChildren(mark, ...valueLegend(colours, unit), element("span", "quiet", say(`digit_${unit}`)));
  }

  /** @type {(id: string) => Figure} */
  figure(id) {
    const runs = this.lanes.map((lane) => lane.run);
    /** @type {(count: (run: Run, lane: Lane) => number, write: (value: number) => string) => { numbers: number[], texts: string[] }} */
    const each = (count, write) => {
      const numbers = this.lanes.map((lane) => count(lane.run, lane));
      return { numbers, texts: numbers.map(write) };
    };
    /** @type {(numbers: number[], write: (value: number) => string) => string} */
    const perToken = (numbers, write) => {
      const parts = numbers.map((number, side) => (runs[side].shown.computed ? write(number / runs[side].shown.computed) : "–"));
      return say("per_token", { a: parts[0], b: parts[1] });
    };
    if (id === "tokens") {
      const counted = each((run) => run.numTokens("decode"), String);
      const expected = runs.map((run) => run.header?.expected_new_tokens ?? 0);
      return { ...counted, label: say("race_tokens"), note: say("of_at_most", { count: Math.max(...expected) || "–" }) };
    }
    if (id === "flops") {
      const counted = each((run) => run.activeFlops, formatFlops);
      return { ...counted, label: say("race_flops"), note: perToken(counted.numbers, formatFlops) };
    }
    if (id === "kv") {
      const counted = each((run) => run.cacheBytes, formatBytes);
      return { ...counted, label: say("race_kv"), note: perToken(counted.numbers, formatBytes) };
    }
    if (!this.data.live) return { numbers: [0, 0], texts: ["–", "–"], label: say("race_seconds"), note: say("race_not_timed") };
    const counted = each((_, lane) => lane.seconds, (value) => say("race_seconds_value", { value: fixed(value, value < 10 ? 2 : 1) }));
    const each_ms = this.lanes.map((lane) => (lane.secondsPerToken === null ? "–" : `${fixed(1000 * lane.secondsPerToken, 1)} ms`));
    return { ...counted, label: say("race_seconds"), note: say("per_token", { a: each_ms[0], b: each_ms[1] }) };
  }

  /** @param {Tile} tile  @param {Figure} figure */
  drawTile(tile, figure) {
    const largest = Math.max(...figure.numbers, 0);
    setText(tile.label, figure.label);
    tile.rows.forEach((row, side) => {
      row.bar.style.width = `${largest ? (100 * figure.numbers[side]) / largest : 0}%`;
      row.node.dataset.value = String(figure.numbers[side]);
      setText(row.value, figure.texts[side]);
    });
    setText(tile.note, figure.note);
  }

  // Returns the side with the longer time per generated token, and by what factor; null if unknown or within SAME_SPEED.
  slower() {
    const [ours, theirs] = this.lanes.map((lane) => lane.secondsPerToken);
    if (!ours || !theirs) return null;
    const factor = Math.max(ours, theirs) / Math.min(ours, theirs);
    return factor - 1 < SAME_SPEED ? null : { side: ours > theirs ? 0 : 1, factor };
  }
}

/** @param {any} component */
export default function render(component) {
  const { parentElement } = component;
  let view = VIEWS.get(parentElement);
  if (!view) {
    view = new RaceView(/** @type {HTMLElement} */ (parentElement.querySelector(".mor-race")));
    VIEWS.set(parentElement, view);
  }
  view.receive(component);
  return () => {
    if (parentElement.isConnected) return; // Streamlit also cleans up after a superseded call; the view stays
    view.close();
    VIEWS.delete(parentElement);
  };
}
