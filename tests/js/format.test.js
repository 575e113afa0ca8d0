import assert from "node:assert/strict";
import { test } from "node:test";

import {
  fixed, formatBytes, formatFlops, levelColour, mix, sigmoid, slotLabel, textOn, tokenLabel, tokenPieces,
} from "../../mor_core/page/strip/format.js";
import { prepareWords } from "../../mor_core/page/strip/words.js";

const plain = (text, changes = {}) => ({ text, token_bytes: "", special: false, ...changes });

test("whitespace and control characters are marks, letters stay together", () => {
  assert.deepEqual(tokenPieces(plain(" fox\n")), [
    { text: "␣", mark: true }, { text: "fox", mark: false }, { text: "⏎", mark: true },
  ]);
  assert.equal(tokenLabel(plain("a\tb\u0007\u007f")), "a⇥b<0x07><0x7F>");
  assert.deepEqual(tokenPieces(plain("")), [{ text: "∅", mark: true }]);
});

test("a piece of a character shows its bytes, a special token its name", () => {
  assert.equal(tokenLabel(plain("\ufffd", { token_bytes: "e4bb" })), "<0xE4><0xBB>");
  assert.equal(tokenLabel(plain("<|end of text|>", { special: true })), "<|end of text|>");
});

test("numbers have their unit, a true minus, and a dash where there is none", () => {
  assert.equal(formatFlops(999), "999 FLOP");
  assert.equal(formatFlops(1_234_567), "1.23 MFLOP");
  assert.equal(formatFlops(45_600_000_000), "45.6 GFLOP");
  assert.equal(formatFlops(7e15), "7000 TFLOP");
  assert.equal(formatBytes(1536), "1.50 KiB");
  assert.equal(formatBytes(200 * 1024 ** 2), "200 MiB");
  assert.equal(fixed(-0.456, 2), "−0.46");
  assert.equal(fixed(2, 1), "2.0");
  assert.equal(fixed(null, 2), "–");
  assert.equal(fixed(undefined, 2), "–");
});

test("sigmoid is one half at the threshold and symmetric", () => {
  assert.equal(sigmoid(0), 0.5);
  assert.equal(Math.round(1e6 * sigmoid(2)), 880797);
  assert.ok(Math.abs(sigmoid(3) + sigmoid(-3) - 1) < 1e-12);
});

test("text is black or white, whichever reads better", () => {
  assert.deepEqual(["#440154", "#22908c", "#fde725", "rgb(250,250,250)"].map(textOn), ["#ffffff", "#111111", "#111111", "#111111"]);
});

test("colours are mixed by channel, also of what was mixed before", () => {
  assert.equal(mix("#000000", "#ffffff", 0.5), "rgb(128,128,128)");
  assert.equal(mix("rgb(10,20,30)", "#14283c", 1), "rgb(20,40,60)");
});

test("a depth has the colour of its scale; of more levels than were sent, the largest is spread", () => {
  const scales = { 2: ["#000000", "#ffffff"], 3: ["#000000", "#808080", "#ffffff"] };
  assert.equal(levelColour(scales, 2, 2), "#ffffff");
  assert.equal(levelColour(scales, 2, 3), "#808080");
  const spread = [1, 2, 3, 4, 5].map((depth) => levelColour(scales, depth, 5));
  assert.deepEqual(spread, ["rgb(0,0,0)", "rgb(64,64,64)", "rgb(128,128,128)", "rgb(192,192,192)", "rgb(255,255,255)"]);
});

test("a slot of one recursion keeps its label, others are said", () => {
  prepareWords({ slot_coda: { en: "coda {number}" } });
  assert.equal(slotLabel({ stage: "shared", recursion: 2, layer: 1, label: "R2 L1" }), "R2 L1");
  assert.equal(slotLabel({ stage: "coda", recursion: null, layer: 3, label: "C3" }), "coda 3");
});
