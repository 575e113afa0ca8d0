import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { deflateSync } from "node:zlib";

import { Feed } from "../../mor_core/page/strip/feed.js";
import { Run } from "../../mor_core/page/strip/run.js";
import { EVENTS, batch } from "./records.js";

const sources = [];

class Source {
  static CLOSED = 2;

  constructor(url) {
    Object.assign(this, { url, readyState: 1 });
    sources.push(this);
  }

  close() { this.readyState = Source.CLOSED; }
}

function begin(runs = [new Run("run")]) {
  const told = { arrived: [], refused: 0, asked: [] };
  const feed = new Feed(runs, {
    arrived: (run) => told.arrived.push(run.id),
    refused: () => { told.refused += 1; },
    ask: (question) => told.asked.push(question),
  });
  return { feed, runs, told };
}

const packed = (from, to, answers, name = "running") => {
  const { events, ...rest } = batch(from, to, name);
  return { ...rest, packed: deflateSync(JSON.stringify(events)).toString("base64"), answers };
};

beforeEach(() => {
  globalThis.EventSource = Source;
  sources.length = 0;
  mock.timers.enable({ apis: ["setTimeout"] });
});
afterEach(() => mock.timers.reset());

test("a recorded run comes whole with the data", () => {
  const { feed, runs, told } = begin();
  feed.receive([{ batch: batch(0, EVENTS.length, "done"), stream: null }]);
  assert.deepEqual([runs[0].applied, runs[0].isFinished, told.arrived], [5, true, ["run"]]);
  assert.equal(sources.length, 0);
});

test("the event route is read once a run, until it ends", () => {
  const { feed, runs, told } = begin();
  feed.receive([{ stream: "/events/run" }]);
  feed.receive([{ stream: "/events/run" }]);
  assert.deepEqual(sources.map(({ url }) => url), ["/events/run"]);
  const [source] = sources;
  source.onmessage({ data: JSON.stringify(batch(0, 3)) });
  mock.timers.tick(10_000);
  assert.deepEqual([runs[0].applied, source.readyState], [3, 1]);
  source.onmessage({ data: JSON.stringify(batch(3, 5, "done")) });
  assert.deepEqual([runs[0].isFinished, source.readyState, told.arrived.length], [true, 2, 2]);
  mock.timers.tick(10_000);
  assert.equal(told.refused, 0);
});

test("a route that stays silent or refuses is reported, a lost connection is not", () => {
  const silent = begin();
  silent.feed.receive([{ stream: "/silent" }]);
  mock.timers.tick(7999);
  assert.equal(silent.told.refused, 0);
  mock.timers.tick(1);
  assert.equal(silent.told.refused, 1);
  const refusing = begin();
  refusing.feed.receive([{ stream: "/refused" }]);
  const source = sources[1];
  source.onerror();
  assert.equal(refusing.told.refused, 0);
  source.readyState = Source.CLOSED;
  source.onerror();
  assert.equal(refusing.told.refused, 1);
});

test("where Python hands events over, it is asked for what is missing", async () => {
  const { feed, runs, told } = begin();
  feed.receive([{ batch: packed(0, 2, 0) }]);
  await feed.unpacked;
  assert.equal(runs[0].applied, 2);
  mock.timers.tick(149);
  assert.deepEqual(told.asked, []);
  mock.timers.tick(1);
  assert.deepEqual(told.asked, [{ question: 1, run: 2 }]);
  mock.timers.tick(8000); // the answer was lost
  assert.deepEqual(told.asked[1], { question: 2, run: 2 });
  feed.receive([{ batch: packed(2, 5, 2, "done") }]);
  await feed.unpacked;
  assert.equal(runs[0].isFinished, true);
  mock.timers.tick(20_000);
  assert.equal(told.asked.length, 2);
});

test("an answer without the events before it is not taken, and asked for again soon", async () => {
  const { feed, runs, told } = begin();
  feed.receive([{ batch: packed(3, 5, 0, "done") }]);
  await feed.unpacked;
  assert.deepEqual([runs[0].applied, told.arrived], [0, []]);
  mock.timers.tick(150);
  assert.deepEqual(told.asked, [{ question: 1, run: 0 }]);
});

test("two runs are asked for in one question", async () => {
  const { feed, told } = begin([new Run("a"), new Run("b")]);
  feed.receive([{ batch: packed(0, 2, 0) }, { batch: packed(0, 1, 0) }]);
  await feed.unpacked;
  mock.timers.tick(150);
  assert.deepEqual(told.asked, [{ question: 1, a: 2, b: 1 }]);
});

test("once closed, nothing is taken or asked", async () => {
  const { feed, runs, told } = begin();
  feed.receive([{ stream: "/events/run", batch: packed(0, 2, 0) }]);
  feed.close();
  await feed.unpacked;
  sources[0].onmessage({ data: JSON.stringify(batch(0, 3)) });
  mock.timers.tick(20_000);
  assert.deepEqual([runs[0].applied, told.asked, told.refused, sources[0].readyState], [0, [], 0, 2]);
});
