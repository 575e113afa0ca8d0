import assert from "node:assert/strict";
import { test } from "node:test";

import { currentLanguage, prepareWords, say, setLanguage } from "../../mor_core/page/strip/words.js";

test("a word is said in the chosen language, with its values", () => {
  prepareWords({ speed: { en: "{rate} tokens a second", zh: "每秒 {rate} 个词元" } });
  assert.equal(say("speed", { rate: 12.5 }), "12.5 tokens a second");
  setLanguage("zh");
  assert.equal(currentLanguage(), "zh");
  assert.equal(say("speed", { rate: 3 }), "每秒 3 个词元");
  setLanguage("en");
});

test("a word that does not exist is an error", () => {
  assert.throws(() => say("no such word"), TypeError);
});
