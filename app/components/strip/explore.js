// What a reader chooses beside the pin: metric, units, filters, several pins, the window. Python hears of it for the link.

Object.assign(View.prototype, {
  readTools(data) {
    this.hasTools = Boolean(data.tools);
    this.classLabels = data.tools ? data.tools.class_labels : [];
    this.present = new Set(data.tools ? data.tools.classes : []);
  },

  takePin(position) { // a chart of the page asks, once
    if (position === this.asked) return;
    this.asked = position;
    if (position !== null && this.run.tokens[position]) this.pin(position);
  },

  classOf(token) {
    return this.data.tools ? this.data.tools.classes[token.position] : null;
  },

  restore() { // what the link says, once a run
    if (this.isRestored || !this.run.tokens.length) return;
    this.isRestored = true;
    const asked = this.data.tools ? this.data.tools.view : {};
    if (asked.metric) this.metric.choose(asked.metric);
    if (this.metric.name === "prediction" && !this.run.header.has_lens) this.metric.choose("depth");
    if (asked.granularity) this.granularity = asked.granularity;
    this.list.root.dataset.granularity = this.granularity;
    this.pins.restore(asked.pins, this.run);
    if (asked.window) [this.overview.start, this.overview.size] = [asked.window[0], asked.window[1] - asked.window[0]];
    requestAnimationFrame(() => {
      if (asked.window) this.list.show(this.overview.start);
      if (this.pinned !== null) this.list.reveal(this.pinned);
    });
  },

  click(position, event) {
    if (!event.shiftKey || this.pinned === null) return this.pin(this.pinned === position ? null : position);
    this.pins.toggle(position);
    this.redraw();
    return this.report();
  },

  setMetric(id) {
    this.metric.choose(id);
    this.list.repaint(this.run);
    this.redraw();
    this.report();
  },

  setGranularity(name) {
    this.granularity = name;
    this.list.rebuild(this.run);
    this.filterChanged();
    this.showAttending();
    this.report();
  },

  filterChanged() {
    this.list.filter(this.filters);
    this.redraw();
  },

  attend(recursion) {
    this.attending = recursion;
    this.showAttending();
    this.redraw();
  },

  showAttending() {
    const token = this.pinned === null ? null : this.run.tokens[this.pinned];
    const isKnown = token && this.attending !== null && token.recursion_depth >= this.attending;
    this.list.attend(isKnown ? new Set(attendable(this.run, token.position, this.attending).found) : null);
  },

  windowMoved() { // by the reader: the text follows
    this.redraw();
    requestAnimationFrame(() => this.list.show(this.overview.start));
    this.report();
  },

  scrolled(position) { // the text was: the window follows
    if (!this.overview.isNeeded || !this.run.isFinished || !this.run.isAtEnd) return;
    this.overview.start = position;
    this.redraw();
    this.report();
  },

  report() { // once it rests
    clearTimeout(this.reportTimer);
    this.reportTimer = setTimeout(() => {
      const { run, pinned, overview } = this;
      this.setState("pin", { run: run.id, position: pinned });
      if (!this.hasTools) return;
      const window = overview.isNeeded ? [overview.start, overview.end] : null;
      this.setState("view", { run: run.id, metric: this.metric.id, granularity: this.granularity, pins: this.pins.text, window });
    }, 300);
  },
});
