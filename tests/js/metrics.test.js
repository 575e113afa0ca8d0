import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { sigmoid } from "../../mor_core/page/strip/format.js";
import { Metric, predictionDepth } from "../../mor_core/page/strip/metrics.js";
import { Run } from "../../mor_core/page/strip/run.js";
import { HEADER, batch, newest, prepareEchoes, token } from "./records.js";

const COLOURS = ["#000000", "#808080", "#ffffff"];

function chosen(id, changes = {}) {
  const run = new Run("run");
  run.take(batch(0, 5, "done"));
  run.header = { ...HEADER, ...changes };
  const metric = new Metric({ run, theme: () => ({ neutral: "#ffffff" }), colourOf: (depth) => COLOURS[depth - 1] });
  metric.choose(id);
  return metric;
}

beforeEach(prepareEchoes);

test("a prediction's depth is the first exit that says what the last says", () => {
  const exit = (id) => [{ token_id: id, text: "", probability: 1 }];
  assert.equal(predictionDepth(token(1, { lens: [exit(4), exit(7), exit(7)] })), 2);
  assert.equal(predictionDepth(token(1, { lens: [exit(7), exit(4), exit(7)] })), 1);
  assert.equal(predictionDepth(newest(3)), null);
});

test("each metric's value is the record's", () => {
  assert.equal(chosen("depth").of(token(3)), 3);
  assert.equal(chosen("surprise").of(token(3)), 1.5);
  assert.equal(chosen("surprise").of(token(0)), null);
  assert.equal(chosen("prediction").of(token(3)), 3);
  assert.equal(chosen("kept").of(token(2)), 4);
  assert.equal(chosen("kept").of(newest(3)), null);
  assert.equal(chosen("score-2").of(token(2)), sigmoid(1.5));
  assert.equal(chosen("score-3").of(token(1)), null);
  assert.equal(chosen("score-3", { router: { ...HEADER.router, type: "token_choice", chooses_once: true, num_logits: 3 } }).of(token(3)), 0.62);
});

test("a score is of the router before a recursion that the model has", () => {
  assert.equal(chosen("score").id, "score-2");
  assert.equal(chosen("score-3").id, "score-3");
  assert.equal(chosen("score-9").id, "score-3");
  assert.equal(chosen("score", { num_recursions: 1 }).id, "score-1");
  assert.equal(chosen("no such").id, "depth");
});

test("a mean leaves out what was not computed", () => {
  assert.equal(chosen("depth").mean([token(1), token(2), newest(3)]), 1.5);
  assert.equal(chosen("depth").mean([newest(3)]), null);
});

test("colours follow the scale, with a mean between two levels", () => {
  const depth = chosen("depth");
  assert.deepEqual([depth.colour(1), depth.colour(2.5), depth.colour(null)], ["#000000", "rgb(192,192,192)", null]);
  assert.equal(chosen("surprise").colour(0), "rgb(255,255,255)");
  assert.equal(chosen("surprise").colour(10), chosen("surprise").colour(99));
  assert.equal(chosen("kept").colour(5), "rgb(47,125,79)");
});

test("a score's colour is neutral at the threshold and full at the ends", () => {
  const score = chosen("score-2");
  assert.equal(score.colour(0.5), "rgb(255,255,255)");
  assert.equal(score.colour(1), "rgb(221,118,17)");
  assert.equal(score.colour(0), "rgb(43,108,176)");
});

test("signs are short", () => {
  assert.deepEqual([chosen("depth").sign(null), chosen("kept").sign(null)], ["?", "–"]);
  assert.deepEqual([chosen("depth").sign(2), chosen("depth").sign(2.25), chosen("score").sign(0.875)], ["2", "2.3", ".88"]);
  assert.equal(chosen("surprise").sign(3), "3.0");
});

test("the scale ends at the number of levels, slots, or a fixed surprise", () => {
  assert.deepEqual(["depth", "prediction", "kept", "score", "surprise"].map((id) => chosen(id).top), [3, 3, 5, 1, 10]);
  assert.deepEqual(["depth", "score"].map((id) => chosen(id).isLevel), [true, false]);
  assert.equal(chosen("kept").label(), "metric_kept");
});
