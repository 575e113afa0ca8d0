// One run in the browser: takes events and makes one frame for each call of the model. `tokens` and the totals belong
// to the shown frame, so the same drawing code serves a live run, a paused one and a replay. Draws nothing.

import { withHiddenWords } from "./hidden.js";

/** @import { Batch, Frame, Granularity, Header, Phase, RunEvent, Slot, Status, Step, Token, TokensEvent } from "./types" */

export class Run {
  /** @param {string} id */
  constructor(id) {
    this.id = id;
    /** @type {Header} */
    this.header = /** @type {any} */ (null); // null before the first event; code that runs so early checks it
    /** @type {Token[]} */
    this.records = []; // all received tokens, by position
    /** @type {Frame[]} */
    this.frames = [];
    this.at = -1; // index of the shown frame
    /** @type {Token[]} */
    this.tokens = []; // by position, as of that frame
    /** @type {Set<number>} */
    this.changed = new Set(); // positions to redraw
    this.applied = 0; // number of events taken
    /** @type {Status} */
    this.status = { name: "queued", ahead: 0, message: "" };
    /** @type {string | null} */
    this.finishReason = null;
    this.hides = false; // whether hidden words are shown as blocks
    /** @type {Map<number, { token: Token, copy: Token }>} */
    this.blocked = new Map();
    this.numHidden = 0;
  }

  // Returns false if earlier events are missing.
  /** @param {Batch} batch */
  take(batch) {
    if (batch.from > this.applied) return false;
    batch.events.slice(this.applied - batch.from).forEach((event) => this.apply(event));
    this.applied = Math.max(this.applied, batch.from + batch.events.length);
    this.status = batch.status;
    return true;
  }

  /** @param {RunEvent} event */
  apply(event) {
    if (event.kind === "header") this.header = event.header;
    if (event.kind === "end") this.finishReason = event.finish_reason;
    if (event.kind !== "tokens") return;
    const records = event.newest ? [...event.completed, event.newest] : event.completed;
    for (const token of records) this.records[token.position] = token;
    const first = this.frames.length;
    event.steps.forEach((step) => this.frames.push(this.frameAfter(step)));
    if (!event.steps.length) this.frames.push({ ...this.last, computed: this.records.length });
    const { last } = this;
    last.fullDepthFlops = event.full_depth_flops;
    last.vanillaBytes = event.vanilla_kv_bytes;
    // A plain cache holds every position. The cost at full depth is known only if the step recorded it.
    for (const frame of this.frames.slice(first)) frame.vanillaBytes = (last.vanillaBytes * frame.computed) / last.computed;
  }

  /** @type {(step: Step) => Frame} */
  frameAfter(step) {
    const { last } = this;
    const isDecode = step.phase === "decode";
    const cost = step.dense_flops ?? null;
    return {
      computed: step.first_position + step.num_tokens, // positions that the model has computed
      seconds: step.latency_s,
      activeFlops: last.activeFlops + step.active_flops,
      fullDepthFlops: cost === null || last.fullDepthFlops === null ? null : last.fullDepthFlops + cost,
      cacheBytes: step.cache_bytes.reduce((sum, bytes) => sum + bytes, 0),
      vanillaBytes: 0, // set from the totals of the event
      cacheEntries: step.cache_entries,
      decodeSeconds: last.decodeSeconds + (isDecode ? step.latency_s : 0),
      decodeTokens: last.decodeTokens + (isDecode ? step.num_tokens : 0),
    };
  }

  get last() {
    return this.frames[this.frames.length - 1] ?? NOTHING;
  }

  get shown() {
    return this.frames[this.at] ?? NOTHING;
  }

  // Shows the run as of a frame; tokens that the model had not computed by then have no depth yet.
  /** @param {number} at */
  show(at) {
    const before = this.tokens;
    const { computed } = this.frames[at];
    const isText = this.header.run_kind === "analyse"; // a text that is read has no newest token
    this.at = at;
    this.tokens = this.visible().slice(0, isText ? computed : computed + 1);
    if (this.tokens.length > computed) this.tokens[computed] = withoutDepth(this.tokens[computed]);
    const length = Math.max(before.length, this.tokens.length);
    for (let position = 0; position < length; position += 1) {
      const [old, now] = [before[position], this.tokens[position]];
      const isStillNew = old && now && old.recursion_depth === null && now.recursion_depth === null && old.text === now.text;
      if (old !== now && !isStillNew) this.changed.add(position);
    }
  }

  // The records to draw, with hidden words as blocks where needed.
  visible() {
    this.numHidden = 0;
    if (!this.hides) return this.records;
    const { tokens, count } = withHiddenWords(this.records, !this.isFinished, this.blocked);
    this.numHidden = count;
    return tokens;
  }

  get isFinished() {
    return ["done", "cancelled", "failed"].includes(this.status.name);
  }

  get isAtEnd() {
    return this.at === this.frames.length - 1;
  }

  get numRecursions() {
    return this.header ? this.header.num_recursions : 0;
  }

  // Number of positions on the x axis. Expected tokens count too, so that nothing rescales.
  get numColumns() {
    const expected = this.isFinished ? 0 : this.numTokens("prefill") + this.header.expected_new_tokens;
    return Math.max(this.records.length, expected, 1);
  }

  get activeFlops() { return this.shown.activeFlops; }
  get fullDepthFlops() { return this.shown.fullDepthFlops; }
  get cacheBytes() { return this.shown.cacheBytes; }
  get vanillaBytes() { return this.shown.vanillaBytes; }
  get cacheEntries() { return this.shown.cacheEntries; }
  get decodeSeconds() { return this.shown.decodeSeconds; }
  get decodeTokens() { return this.shown.decodeTokens; }

  /** @param {Phase} phase */
  numTokens(phase) {
    return this.tokens.filter((token) => token && token.phase === phase).length;
  }

  // Depths of the content tokens, without special tokens and without the newest token, which has no depth yet.
  /** @param {Phase} [phase] */
  depths(phase) {
    return this.tokens
      .filter((t) => t && !t.special && (!phase || t.phase === phase))
      .map((token) => token.recursion_depth)
      .filter((depth) => depth !== null);
  }

  /** @param {Phase} [phase] */
  meanDepth(phase) {
    const depths = this.depths(phase);
    return depths.length ? depths.reduce((sum, depth) => sum + depth, 0) / depths.length : null;
  }
}

/** @type {Frame} */
const NOTHING = {
  computed: 0, seconds: 0, activeFlops: 0, fullDepthFlops: 0, cacheBytes: 0, vanillaBytes: 0, cacheEntries: [], decodeSeconds: 0, decodeTokens: 0,
};

// A token as it was after it had been chosen and before the model computed its position.
/** @param {Token} token */
function withoutDepth(token) {
  if (token.recursion_depth === null) return token;
  const unknown = token.router_logits.map(() => null);
  return {
    ...token, recursion_depth: null, router_logits: unknown, router_scores: unknown, cached_slots: [], latency_s: null, expert_idx: [], lens: [],
  };
}

// The positions at which the next window of a long text begins.
/** @param {Run} run */
export function boundaries(run) {
  return run.header.windows.slice(0, -1).map(([, end]) => end).filter((position) => run.tokens[position]);
}

// The positions whose keys and values a recursion can read at a position: those in its slot, itself included.
// A long text is read in windows; tokens that a window reads again as context have no record of their own there.
/** @param {Run} run  @param {number} position  @param {number} recursion */
export function attendable(run, position, recursion) {
  const slots = run.header.cache_slots;
  const own = slots.findIndex((slot) => slot.recursion === recursion);
  const slot = own >= 0 ? own : slots.findIndex((held) => held.recursion !== null);
  const windows = run.header.windows;
  const index = windows.findIndex(([, end]) => position < end);
  const first = index > 0 ? windows[index - 1][1] : 0;
  const found = [];
  for (let at = first; at <= position; at += 1) {
    if (run.tokens[at].cached_slots.includes(slot)) found.push(at);
  }
  return { found, of: position - first + 1, again: index > 0 ? first - windows[index][0] : 0 };
}

// Splits a run into display units, each an array of tokens. A word ends before a space, line break or special token.
/** @param {Run} run  @param {Granularity} granularity */
export function unitsOf(run, granularity) {
  const units = [];
  let isOpen = false;
  for (const token of run.tokens) {
    if (!token) continue;
    const before = units.length ? units[units.length - 1][units[units.length - 1].length - 1] : null;
    const begins = granularity === "word" && /^\s/.test(token.text);
    const changes = before && (before.phase !== token.phase || before.special || token.special);
    if (!isOpen || begins || changes || granularity === "token") units.push([token]);
    else units[units.length - 1].push(token);
    isOpen = !token.text.includes("\n");
  }
  return units;
}
