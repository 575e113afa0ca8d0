// Receives the events of runs: from the event route, or, if that does not answer, by polling Python, which answers with
// a rerun. Draws nothing.

/** @import { Run } from "./run.js" */
/** @import { Batch, PackedBatch } from "./types" */
/** @typedef {Batch & { answers: number }} Answer */
/** @typedef {{ stream?: string | null, batch?: Batch | PackedBatch | null }} Part what Python sends for a run */

const EVENTS_AN_ANSWER = 15; // an answer costs about 4 KB plus its events
const [SOON, SHORTEST_PAUSE, LONGEST_PAUSE, LOST] = [150, 500, 1500, 8000]; // milliseconds

export class Feed {
  // `arrived` is called after a run has taken events, `refused` if the event route does not answer; `ask` tells Python
  // how many events each run has.
  /**
   * @param {Run[]} runs
   * @param {object} callbacks
   * @param {(run: Run, batch: Batch) => void} callbacks.arrived
   * @param {() => void} callbacks.refused
   * @param {(question: Record<string, number>) => void} callbacks.ask
   */
  constructor(runs, { arrived, refused, ask }) {
    this.runs = runs;
    this.arrived = arrived;
    this.refused = refused;
    this.ask = ask;
    /** @type {EventSource[]} */
    this.sources = [];
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.question = 0; // number of the last question
    this.isAsking = false;
    this.answeredAt = performance.now();
    this.unpacked = Promise.resolve(); // batches are unpacked one after the other, since unpacking is asynchronous
    this.isClosed = false;
  }

  close() {
    this.isClosed = true;
    this.sources.forEach((source) => source.close());
    clearTimeout(this.timer);
  }

  // Takes what Python sends, one part for each run.
  /** @param {Part[]} parts */
  receive(parts) {
    parts.forEach(({ stream }, index) => stream && this.listen(index, stream));
    const batches = parts.map(({ batch }) => batch);
    const packed = batches.filter(isPacked); // for every run, or for none
    if (packed.length) {
      this.unpacked = this.unpacked.then(() => Promise.all(packed.map(unpack))).then((whole) => this.answered(whole));
    } else batches.forEach((batch, index) => batch && "events" in batch && this.take(index, batch));
  }

  // Returns false if earlier events are missing.
  /** @param {number} index  @param {Batch} batch */
  take(index, batch) {
    const isWhole = this.runs[index].take(batch);
    if (isWhole) this.arrived(this.runs[index], batch);
    return isWhole;
  }

  /** @param {Answer[]} batches */
  answered(batches) {
    if (this.isClosed) return;
    const before = this.numEvents;
    const areWhole = batches.map((batch, index) => this.take(index, batch)).every(Boolean);
    clearTimeout(this.timer);
    if (this.runs.every((run) => run.isFinished)) return;
    const { answers } = batches[0];
    const isAnswer = this.isAsking && answers === this.question;
    this.isAsking = false;
    this.question = Math.max(this.question, answers); // an earlier view may have asked
    const now = performance.now();
    const rate = (this.numEvents - before) / (now - this.answeredAt);
    this.answeredAt = now;
    const pause = Math.min(Math.max(EVENTS_AN_ANSWER / rate, SHORTEST_PAUSE), rate ? LONGEST_PAUSE : SHORTEST_PAUSE);
    this.askIn(areWhole && isAnswer ? pause : SOON); // not an answer: the viewer did something, such as Stop
  }

  /** @param {number} pause */
  askIn(pause) {
    this.timer = setTimeout(() => {
      this.question += 1;
      this.isAsking = true;
      this.ask({ question: this.question, ...Object.fromEntries(this.runs.map((run) => [run.id, run.applied])) });
      this.askIn(LOST);
    }, pause);
  }

  get numEvents() {
    return this.runs.reduce((sum, run) => sum + run.applied, 0);
  }

  /** @param {number} index  @param {string} url */
  listen(index, url) {
    const run = this.runs[index];
    if (this.sources[index] || run.isFinished) return;
    const source = new EventSource(url);
    this.sources[index] = source;
    const refuse = () => {
      source.close();
      if (!this.isClosed && !run.isFinished) this.refused();
    };
    const silence = setTimeout(refuse, LOST); // a proxy may buffer the stream; the first message is sent at once
    source.onmessage = (message) => {
      clearTimeout(silence);
      if (this.isClosed) return;
      this.take(index, JSON.parse(message.data));
      if (run.isFinished) source.close();
    };
    source.onerror = () => { // EventSource reconnects a lost connection by itself, but not a refused one
      if (source.readyState !== EventSource.CLOSED) return;
      clearTimeout(silence);
      refuse();
    };
  }
}

/** @type {(batch?: Batch | PackedBatch | null) => batch is PackedBatch} */
function isPacked(batch) {
  return Boolean(batch && "packed" in batch);
}

// Returns the batch with its events unpacked.
/** @type {(batch: PackedBatch) => Promise<Answer>} */
async function unpack({ packed, ...batch }) {
  const bytes = Uint8Array.from(atob(packed), (sign) => sign.charCodeAt(0));
  const text = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return { ...batch, events: await new Response(text).json() };
}
