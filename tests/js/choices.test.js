import assert from "node:assert/strict";
import { test } from "node:test";

import { Pins } from "../../mor_core/page/strip/pins.js";
import { Filters } from "../../mor_core/page/strip/toolbar.js";
import { HEADER, newest, prepareEchoes, token } from "./records.js";

const RUN = { tokens: [0, 1, 2, 3, 4].map((at) => token(at)), numRecursions: 3, header: HEADER };

const pinned = (position) => new Pins({ pinned: position, theme: () => ({ accent: "#31688e" }) });

test("pin A is the inspector's, others take the next free letter and keep it", () => {
  const pins = pinned(0);
  [1, 2, 3].forEach((position) => pins.toggle(position));
  assert.equal(pins.text, "A0.B1.C2.D3");
  pins.toggle(2);
  assert.equal(pins.text, "A0.B1.D3");
  pins.toggle(4);
  assert.equal(pins.text, "A0.B1.C4.D3");
  pins.toggle(0);
  assert.equal(pins.text, "A0.B1.C4.D3");
});

test("there are no more pins than letters", () => {
  const pins = pinned(0);
  for (let position = 1; position < 9; position += 1) pins.toggle(position);
  assert.equal(pins.text, "A0.B1.C2.D3.E4");
});

test("pins are read again from a link, those that the run has", () => {
  const pins = pinned(null);
  pins.restore("A4.B1.C99.X2", RUN);
  assert.deepEqual(pins.all, [["A", 4], ["B", 1]]);
  pins.restore(undefined, RUN);
  assert.deepEqual(pins.all, [["A", 4]]);
  assert.notEqual(pins.colour("B"), pins.colour("A"));
});

test("pinned tokens are compared by what is known of them", () => {
  prepareEchoes();
  const rows = pinned(0).rows(RUN);
  const column = (shown) => rows.map(([, value]) => value(shown));
  assert.deepEqual(column(token(2)), ["2", "2", "2", "0.881", "0.818", "0.378", "4", "1.00", "x 50%"]);
  assert.deepEqual(column(newest(3)), ["3", "–", "–", "–", "–", "–", "–", "1.50", "–"]);
});

test("filters leave out what does not match all of them", () => {
  const filters = new Filters({ classOf: ({ position }) => position % 2 });
  const matching = () => RUN.tokens.filter((shown) => filters.matches(shown)).map(({ position }) => position);
  assert.deepEqual([filters.isOn, matching()], [false, [0, 1, 2, 3, 4]]);
  filters.depths.add(3).add(1);
  assert.deepEqual([filters.isOn, matching()], [true, [0, 1, 3, 4]]);
  filters.tokenClass = "1";
  assert.deepEqual(matching(), [1, 3]);
  filters.clear();
  filters.differs = true;
  assert.deepEqual(matching(), []);
  assert.equal(filters.matches(token(1, { lens: [token(3).lens[0], token(3).lens[2], token(3).lens[2]] })), true);
});
