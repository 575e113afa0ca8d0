import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { counterValues, provenance, statusText } from "../../mor_core/page/strip/counters.js";
import { Run } from "../../mor_core/page/strip/run.js";
import { EVENTS, HEADER, batch, prepareEchoes, status } from "./records.js";

function whole(changes = {}) {
  const run = new Run("run");
  run.take(batch(0, EVENTS.length, "done"));
  run.header = { ...HEADER, ...changes };
  run.show(run.frames.length - 1);
  return run;
}

beforeEach(prepareEchoes);

test("the counters are of the frame that is shown", () => {
  const run = whole();
  const [, depth, flops, kv] = counterValues(run);
  assert.equal(depth.value, "1.75 of 3");
  assert.equal(depth.note, "prompt 1.50 · generated 2.00");
  assert.equal(flops.note, "5.00 kFLOP of 7.50 kFLOP");
  assert.deepEqual([flops.value, kv.value, kv.note], ["flops_value", "kv_value", "kv_note"]);
  run.show(0);
  assert.equal(counterValues(run)[1].note, "prompt 1.50");
  assert.equal(counterValues(run)[2].note, "3.00 kFLOP of 4.50 kFLOP");
});

test("what is not known yet is a dash", () => {
  assert.deepEqual(counterValues(new Run("run")).map(({ value }) => value), ["–", "–", "–", "–"]);
  assert.equal(counterValues(whole({ num_hidden_layers: null }))[3].note, "1.88 KiB of 19.5 KiB");
});

test("the status is said, a failure by its message", () => {
  const run = new Run("run");
  const said = (name, changes = {}) => {
    run.status = status(name, changes);
    return statusText(run);
  };
  assert.deepEqual(["queued", "loading", "running", "cancelled", "done"].map((name) => said(name)), ["waiting", "loading", "running", "stopped", "finished"]);
  assert.equal(said("queued", { ahead: 2 }), "waiting_line");
  assert.equal(said("failed", { message: "out of memory" }), "out of memory");
  assert.equal(statusText(whole()), "finished_as");
});

test("the provenance names checkpoint, rule and weights, the seed only where there is one", () => {
  assert.equal(provenance(whole()), "tiny-stories · recursions · rule_causal, threshold · phases · seed · weights");
  assert.equal(provenance(whole({ seed: null, routing: { name: "fixed", gate: "one", max_depth: 2 } })), "tiny-stories · recursions · rule_fixed, capped, gate_one · phases · weights");
});
