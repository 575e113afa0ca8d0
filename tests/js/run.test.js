import assert from "node:assert/strict";
import { test } from "node:test";

import { prepareHiddenWords } from "../../mor_core/page/strip/hidden.js";
import { Run, attendable, boundaries, unitsOf } from "../../mor_core/page/strip/run.js";
import { DEPTHS, EVENTS, HEADER, batch, status, step, token } from "./records.js";

function whole() {
  const run = new Run("run");
  run.take(batch(0, EVENTS.length, "done"));
  run.show(run.frames.length - 1);
  return run;
}

test("events may come again, but none may be missing", () => {
  const run = new Run("run");
  assert.equal(run.take(batch(1, 2)), false);
  assert.equal(run.applied, 0);
  assert.equal(run.take(batch(0, 2)), true);
  assert.equal(run.take(batch(0, 3)), true);
  assert.deepEqual([run.applied, run.frames.length, run.records.length], [3, 2, 5]);
  assert.equal(run.take(batch(3, 5, "done")), true);
  assert.deepEqual([run.isFinished, run.finishReason, run.status.name], [true, "length", "done"]);
});

test("before anything has come, everything is zero", () => {
  const run = new Run("run");
  assert.deepEqual([run.numRecursions, run.activeFlops, run.cacheBytes, run.meanDepth(), run.depths()], [0, 0, 0, null, []]);
});

test("a frame is the state after one call of the model", () => {
  const run = whole();
  assert.deepEqual(run.frames.map((frame) => frame.computed), [3, 4, 5]);
  assert.deepEqual(run.frames.map((frame) => frame.activeFlops), [3000, 4000, 5000]);
  assert.deepEqual(run.frames.map((frame) => frame.fullDepthFlops), [4500, 6000, 7500]);
  assert.deepEqual(run.frames.map((frame) => frame.vanillaBytes), [12000, 16000, 20000]);
  assert.deepEqual([run.cacheBytes, run.decodeTokens, Math.round(1000 * run.decodeSeconds)], [1920, 2, 40]);
});

test("several calls in one event share what a plain cache would hold, and cost unknown to old files stays unknown", () => {
  const run = new Run("run");
  const steps = [step(0, 3, { dense_flops: null }), step(3, 1), step(4, 1)];
  const event = { ...EVENTS[1], completed: [0, 1, 2, 3, 4].map((at) => token(at)), newest: null, steps, full_depth_flops: 7500, vanilla_kv_bytes: 20000 };
  run.take({ from: 0, events: [EVENTS[0], event], status: status("running") });
  assert.deepEqual(run.frames.map((frame) => frame.vanillaBytes), [12000, 16000, 20000]);
  assert.deepEqual(run.frames.map((frame) => frame.fullDepthFlops), [null, null, 7500]);
});

test("shown earlier, a token that was chosen and not yet computed has no depth", () => {
  const run = whole();
  run.changed.clear();
  run.show(0);
  assert.deepEqual(run.tokens.map((shown) => shown.recursion_depth), [3, 1, 2, null]);
  assert.deepEqual([run.tokens[3].lens, run.tokens[3].cached_slots, run.tokens[3].router_logits], [[], [], [null, null, null]]);
  assert.deepEqual([...run.changed], [3, 4]);
  assert.equal(run.isAtEnd, false);
  assert.deepEqual([run.activeFlops, run.records[3].recursion_depth], [3000, 3]);
});

test("the newest token is not drawn again while nothing new is known of it", () => {
  const run = new Run("run");
  run.take(batch(0, 2));
  run.show(0);
  run.changed.clear();
  run.records[3] = { ...run.records[3] };
  run.show(0);
  assert.deepEqual([...run.changed], []);
});

test("a text that is read has no newest token", () => {
  const run = new Run("run");
  const header = { ...HEADER, run_kind: "analyse" };
  run.take({ from: 0, events: [{ kind: "header", header }, ...EVENTS.slice(1)], status: status("done") });
  run.show(0);
  assert.equal(run.tokens.length, 3);
});

test("mean depth leaves specials out and can be of one phase", () => {
  const run = whole();
  assert.deepEqual(run.depths(), DEPTHS.slice(1));
  assert.equal(run.meanDepth(), 7 / 4);
  assert.equal(run.meanDepth("prefill"), 3 / 2);
  assert.equal(run.meanDepth("decode"), 2);
});

test("places for tokens to come are kept free until the run is over", () => {
  const run = new Run("run");
  run.take(batch(0, 2));
  run.show(0);
  assert.equal(run.numColumns, 3 + HEADER.expected_new_tokens);
  run.take(batch(2, 5, "done"));
  assert.equal(run.numColumns, 5);
});

test("words are hidden in what is shown, not in the records", () => {
  prepareHiddenWords(["fox"]);
  const run = whole();
  run.hides = true;
  run.show(run.at);
  assert.deepEqual([run.tokens[2].text, run.records[2].text, run.numHidden], [" ▇▇▇", " fox", 1]);
  run.hides = false;
  run.show(run.at);
  assert.deepEqual([run.tokens[2].text, run.numHidden], [" fox", 0]);
});

test("a token can attend to what is kept in its recursion's slot, itself included", () => {
  const run = whole();
  assert.deepEqual(attendable(run, 4, 1), { found: [0, 1, 2, 3, 4], of: 5, again: 0 });
  assert.deepEqual(attendable(run, 3, 2).found, [0, 2, 3]);
  assert.deepEqual(attendable(run, 3, 3).found, [0, 3]);
});

test("with one slot for all recursions every recursion reads that slot", () => {
  const run = whole();
  run.header = { ...HEADER, cache_slots: HEADER.cache_slots.filter((slot) => slot.recursion !== 2 && slot.recursion !== 3) };
  assert.deepEqual(attendable(run, 3, 2).found, attendable(run, 3, 1).found);
});

test("in a later window only what that window recorded can be attended to", () => {
  const run = whole();
  run.header = { ...HEADER, windows: [[0, 3], [1, 5]] };
  assert.deepEqual(boundaries(run), [3]);
  run.header = { ...HEADER, windows: [[0, 3], [1, 4]] };
  assert.deepEqual(boundaries(run), [3]);
  run.header = { ...HEADER, windows: [[0, 3], [1, 5]] };
  assert.deepEqual(attendable(run, 4, 1), { found: [3, 4], of: 2, again: 2 });
  assert.deepEqual(attendable(run, 2, 1), { found: [0, 1, 2], of: 3, again: 0 });
});

test("units are tokens, words or lines, and none crosses a special token or the end of the prompt", () => {
  const run = new Run("run");
  const texts = ["<|endoftext|>", "The", " f", "ox\n", "ran", " on"];
  run.tokens = texts.map((text, position) => token(position, { text, special: position === 0, phase: position < 5 ? "prefill" : "decode" }));
  const texted = (name) => unitsOf(run, name).map((unit) => unit.map(({ text }) => text).join(""));
  assert.deepEqual(texted("token"), texts);
  assert.deepEqual(texted("word"), ["<|endoftext|>", "The", " fox\n", "ran", " on"]);
  assert.deepEqual(texted("line"), ["<|endoftext|>", "The fox\n", "ran", " on"]);
});
