// The metric that tokens show, one at a time, as colour, sign and words. null means that it was not computed.

import { fixed, mix, sigmoid } from "./format.js";
import { say } from "./words.js";

/** @import { Run } from "./run.js" */
/** @import { Theme, Token } from "./types" */
/** @typedef {{ run: Run, theme(): Theme, colourOf(depth: number): string }} Shown what a metric needs of the view */

const SURPRISE = "#a03a8a";
const KEPT = "#2f7d4f";
export const MAX_SURPRISE = 10; // nats; the scale is the same for every run, and larger values are clipped to it
export const SCORE_LOW = "#2b6cb0"; // below the threshold
export const SCORE_HIGH = "#dd7611"; // above it
export const METRICS = ["depth", "score", "surprise", "prediction", "kept"];

/** @param {Token} token */
export function predictionDepth(token) {
  if (!token.lens.length) return null;
  const best = token.lens.map((choices) => choices[0].token_id);
  return best.indexOf(best[best.length - 1]) + 1;
}

// The chosen metric of a view: its value at a token, or the mean over several, and how a value looks.
export class Metric {
  /** @param {Shown} view */
  constructor(view) {
    this.view = view;
    this.name = "depth";
    /** @type {number | undefined} */
    this.recursion = undefined; // the chosen recursion, whose router's score is shown
    this.choose("depth");
  }

  /** @param {string} id */
  choose(id) { // such as "depth", or "score-2": the score of recursion 2's router
    const [name, recursion] = id.split("-");
    this.name = METRICS.includes(name) ? name : "depth";
    if (recursion) this.recursion = Number(recursion);
  }

  get id() {
    return this.name === "score" ? `score-${this.row + 1}` : this.name;
  }

  get run() {
    return this.view.run;
  }

  get row() { // recursion 1 often takes every token, so the choice begins at 2
    const recursions = this.run.numRecursions;
    return Math.min(Math.max(this.recursion || Math.min(2, recursions), 1), Math.max(recursions, 1)) - 1;
  }

  get isLevel() {
    return this.name === "depth" || this.name === "prediction";
  }

  get top() { // the end of the scale
    if (this.name === "score") return 1;
    if (this.name === "surprise") return MAX_SURPRISE;
    return this.name === "kept" ? this.run.header.cache_slots.length : this.run.numRecursions;
  }

  /** @param {Token} token */
  of(token) {
    if (this.name === "depth") return token.recursion_depth;
    if (this.name === "surprise") return token.log_probability === null ? null : -token.log_probability;
    if (this.name === "prediction") return predictionDepth(token);
    if (this.name === "kept") return token.recursion_depth === null ? null : token.cached_slots.length;
    const logit = token.router_logits[this.row] ?? null;
    if (logit === null) return null;
    return this.run.header.router.chooses_once ? token.router_scores[this.row] : sigmoid(logit);
  }

  /** @param {Token[]} tokens */
  mean(tokens) {
    const known = tokens.map((token) => this.of(token)).filter((value) => value !== null);
    return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
  }

  /** @param {number | null} value */
  colour(value) {
    if (value === null) return null;
    const neutral = this.view.theme().neutral;
    if (this.name === "score") return this.scoreColour(value, neutral);
    if (this.name === "surprise") return mix(neutral, SURPRISE, Math.min(value / MAX_SURPRISE, 1));
    if (this.name === "kept") return mix(neutral, KEPT, value / Math.max(this.top, 1));
    const low = Math.floor(value);
    return low === value ? this.view.colourOf(value) : mix(this.view.colourOf(low), this.view.colourOf(low + 1), value - low);
  }

  /** @param {number} score  @param {string} neutral */
  scoreColour(score, neutral) {
    if (this.run.header.router.chooses_once) return mix(neutral, SCORE_HIGH, score);
    const threshold = sigmoid(this.run.header.threshold_logits[this.row] ?? 0);
    return score >= threshold
      ? mix(neutral, SCORE_HIGH, (score - threshold) / (1 - threshold)) : mix(neutral, SCORE_LOW, (threshold - score) / threshold);
  }

  /** @param {number | null} value */
  sign(value) {
    if (value === null) return this.name === "depth" ? "?" : "–";
    if (this.name === "score") return fixed(value, 2).replace(/^0/, "");
    if (this.name === "surprise") return fixed(value, 1);
    return Number.isInteger(value) ? String(value) : fixed(value, 1);
  }

  /** @param {string} [name] */
  label(name = this.name) {
    return name === "score" ? say("metric_score", { number: this.row + 1 }) : say(`metric_${name}`);
  }
}
