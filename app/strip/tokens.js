// The text itself as coloured tokens. Append-only: a node is made once, and changed once when its depth becomes known.

class TokenList {
  constructor(root, view) {
    this.root = root;
    this.view = view;
    this.nodes = [];
    this.divider = null;
    this.root.onclick = (event) => {
      const position = this.positionOf(event);
      if (position !== null) view.pin(view.pinned === position ? null : position);
    };
    this.root.onmouseover = (event) => view.hover(this.positionOf(event), event);
    this.root.onmouseleave = () => view.hover(null);
    this.root.onscroll = () => {
      const below = this.root.scrollHeight - this.root.scrollTop - this.root.clientHeight;
      this.follows = below < 40;
    };
    this.reset();
  }

  reset() {
    this.root.replaceChildren();
    this.nodes = [];
    this.divider = null;
    this.follows = true;
  }

  positionOf(event) {
    const node = event.target.closest("[data-position]");
    return node ? Number(node.dataset.position) : null;
  }

  update(run) {
    this.trim(run.tokens.length);
    const arrivesWhole = run.isFinished && !this.nodes.length; // a recording is read from its first token
    const positions = [...run.changed].sort((a, b) => a - b);
    for (const position of positions) if (run.tokens[position]) this.draw(run, run.tokens[position]);
    if (positions.length && this.follows && !arrivesWhole) this.root.scrollTop = this.root.scrollHeight;
  }

  trim(length) { // after a step back
    for (const position of this.nodes.keys()) if (position >= length) this.nodes[position]?.remove();
    this.nodes.length = Math.min(this.nodes.length, length);
    for (const breaking of this.root.querySelectorAll(".line-break")) {
      if (!breaking.previousElementSibling?.dataset.position) breaking.remove();
    }
    if (this.divider && !this.divider.nextElementSibling) {
      this.divider.remove();
      this.divider = null;
    }
  }

  draw(run, token) {
    let node = this.nodes[token.position];
    if (!node) {
      node = this.make(token);
      this.nodes[token.position] = node;
      if (token.phase === "decode" && !this.divider) {
        this.divider = element("span", "divider");
        this.divider.append(element("i", "", say("prompt")), element("b", "", "│"), element("i", "", say("generated")));
        this.divider.dataset.testid = "phase-divider";
        this.root.append(this.divider);
      }
      this.root.append(node);
      if (token.text.includes("\n")) this.root.append(element("span", "line-break"));
    }
    const depth = token.recursion_depth;
    const colour = this.view.colourOf(depth);
    node.dataset.depth = depth === null ? "" : depth;
    node.classList.toggle("pending", depth === null);
    node.style.setProperty("--token-colour", colour || "transparent");
    node.style.setProperty("--token-text", colour ? textOn(colour) : "inherit");
    node.lastChild.textContent = depth === null ? "?" : depth;
    this.describe(run, token);
  }

  describe(run, token) {
    const depth = token.recursion_depth;
    const spent = depth === null ? say("no_depth_yet") : say("depth_of", { depth, total: run.numRecursions });
    this.nodes[token.position].setAttribute("aria-label", `${tokenLabel(token)}, ${spent}`);
  }

  translate(run) { // after the viewer changed the language; tokens that are not drawn yet come in it anyway
    if (this.divider) {
      this.divider.firstChild.textContent = say("prompt");
      this.divider.lastChild.textContent = say("generated");
    }
    for (const token of run.tokens) if (token && this.nodes[token.position]) this.describe(run, token);
  }

  make(token) {
    const node = element("span", token.special ? "token special" : "token");
    node.dataset.testid = "token";
    node.dataset.position = token.position;
    node.dataset.phase = token.phase;
    node.setAttribute("role", "option");
    const text = element("span", "text");
    for (const piece of tokenPieces(token)) text.append(element("span", piece.mark ? "mark" : "", piece.text));
    node.append(text, element("span", "digit"));
    return node;
  }

  focus(pinned, hovered) {
    for (const [name, position] of [["pinned", pinned], ["hovered", hovered]]) {
      const before = this.root.querySelector(`.${name}`);
      if (before) before.classList.remove(name);
      const node = position === null ? null : this.nodes[position];
      if (node) node.classList.add(name);
    }
  }

  reveal(position) {
    const node = this.nodes[position];
    if (!node) return;
    const list = this.root.getBoundingClientRect();
    const box = node.getBoundingClientRect();
    if (box.top < list.top) this.root.scrollTop -= list.top - box.top + 8;
    if (box.bottom > list.bottom) this.root.scrollTop += box.bottom - list.bottom + 8;
  }
}
