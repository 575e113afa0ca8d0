import assert from "node:assert/strict";
import { test } from "node:test";

import { prepareHiddenWords, withHiddenWords } from "../../mor_core/page/strip/hidden.js";

const record = (text, changes = {}) => ({ text, token_bytes: "ff", special: false, alternatives: [], lens: [], ...changes });
const shown = (texts, isOpen = false) => withHiddenWords(texts.map((text) => record(text)), isOpen).tokens.map((token) => token.text);

prepareHiddenWords(["damn", "damned"]);

test("a word is hidden wherever it begins and ends among the tokens", () => {
  assert.deepEqual(shown(["Oh ", "D", "amn", "!"]), ["Oh ", "▇", "▇▇▇", "!"]);
  assert.deepEqual(shown(["damning", " madamn"]), ["damning", " madamn"]);
});

test("the end of a text that grows waits until it is known not to be the beginning of a hidden word", () => {
  assert.deepEqual(shown(["a ", "da"], true), ["a ", "▇▇"]);
  assert.deepEqual(shown(["a ", "da"], false), ["a ", "da"]);
  assert.deepEqual(shown(["a ", "dance"], true), ["a ", "dance"]);
  assert.equal(withHiddenWords([record("da")], true).count, 0);
});

test("a special token ends a word and is never hidden", () => {
  const records = [record("da"), record("<|damn|>", { special: true }), record("mn")];
  assert.deepEqual(withHiddenWords(records, false).tokens, records);
});

test("the count is of whole words, and a token that hides nothing is the same object", () => {
  const records = [record("damn"), record(" you, "), record("damned")];
  const { tokens, count } = withHiddenWords(records, false);
  assert.equal(count, 2);
  assert.equal(tokens[1], records[1]);
  assert.notEqual(tokens[0], records[0]);
  assert.deepEqual([tokens[0].token_bytes, records[0].text], ["", "damn"]);
});

test("what could have followed is hidden where it would have completed the word", () => {
  const choice = (text) => ({ token_id: 1, text, probability: 0.5 });
  const records = [record(" da"), record("y", { alternatives: [choice("mn!"), choice("y")], lens: [[choice("s")]] })];
  const [, second] = withHiddenWords(records, false).tokens;
  assert.deepEqual(second.alternatives.map(({ text }) => text), ["▇▇!", "y"]);
  assert.equal(second.text, "y");
  assert.equal(second.lens[0], records[1].lens[0]);
});

test("a copy is made once as long as it shows the same", () => {
  const records = [record("damn")];
  const known = new Map();
  const [first] = withHiddenWords(records, false, known).tokens;
  assert.equal(withHiddenWords(records, false, known).tokens[0], first);
});
