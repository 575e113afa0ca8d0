// Presenter mode: a black screen, and a recorded run to play if the model stops sending tokens.

import { element } from "./dom.js";
import { Run } from "./run.js";
import { isForAnother } from "./transport.js";
import { currentLanguage, say } from "./words.js";

/** @import { View } from "./strip.js" */
/** @import { Batch, StripData } from "./types" */

/** @type {{ run: string, batch: Batch } | null} */
let lastRecorded = null; // the last recorded run drawn on this page, which can be played without the server
const SILENT_MS = 3000; // after this time without tokens, the recorded run is offered

export class Presenter {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    this.heard = performance.now();
    this.notice = view.part("notice");
    this.blank = element("dialog", "blank");
    this.blank.dataset.testid = "blank";
    this.said = element("span", "blank-text");
    this.blank.append(this.said);
    this.wasOn = false;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this.timer = undefined;
    view.root.append(this.blank);
  }

  get isOn() {
    return Boolean(this.view.data?.present);
  }

  /** @param {StripData} data */
  receive(data) {
    this.view.root.classList.toggle("present", this.isOn);
    if (!data.live && data.batch && "events" in data.batch) lastRecorded = { run: data.run, batch: data.batch };
    if (this.isOn && !this.wasOn) this.view.transport.setSpeed("ten"); // slow enough to explain while it plays
    this.wasOn = this.isOn;
    if (!this.isOn && this.blank.open) this.blank.close();
    clearInterval(this.timer);
    if (this.isOn && data.live) this.timer = setInterval(() => this.listen(), 500);
  }

  close() {
    clearInterval(this.timer);
  }

  hear() {
    this.heard = performance.now();
    this.draw();
  }

  listen() {
    if (this.view.main.isFinished) clearInterval(this.timer);
    this.draw();
  }

  get isSilent() {
    const { view } = this;
    return this.isOn && view.data.live && !view.main.isFinished && performance.now() - this.heard > SILENT_MS;
  }

  draw() {
    const { view } = this;
    const isElsewhere = view.run !== view.main;
    const state = isElsewhere ? "elsewhere" : this.isSilent && lastRecorded ? "silent" : "";
    if (this.notice.dataset.for === state + currentLanguage()) return;
    this.notice.dataset.for = state + currentLanguage();
    this.notice.hidden = !state;
    this.notice.replaceChildren();
    if (!state) return;
    const button = element("button", "transport-button", say(isElsewhere ? "stall_back" : "stall_play"));
    button.type = "button";
    button.dataset.testid = "stall-button";
    button.onclick = () => this.turn();
    this.notice.append(element("span", "", say(isElsewhere ? "stall_playing" : "stall_silent")), button);
  }

  // Switches between the live run and the recorded one.
  turn() {
    const { view } = this;
    if (view.run !== view.main) view.watch(view.main, !view.main.isFinished);
    else if (lastRecorded) {
      const run = new Run(`${lastRecorded.run}-fallback`);
      run.take(lastRecorded.batch);
      view.watch(run, true);
      view.transport.show(0);
      view.transport.schedule();
    }
    this.draw();
  }

  // Handles a key; returns whether it was one of presenter mode's.
  /** @param {KeyboardEvent} event */
  key(event) {
    if (!this.isOn) return false;
    const name = event.key.toLowerCase();
    if (name === "b" || name === ".") {
      if (isForAnother(event)) return false;
      if (this.blank.open) this.blank.close();
      else {
        this.said.textContent = say("blank");
        this.blank.showModal();
      }
    } else if (event.key === "PageDown" && !this.view.data.live && !isForAnother(event)) this.view.setTrigger("wants_run", true);
    else return this.blank.open; // nothing moves behind a black screen
    event.preventDefault();
    return true;
  }
}
