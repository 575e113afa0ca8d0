// Tokens of a lesson: picked by click, Space or Enter, or shown with depth and marks. Drawn anew only when they change.

import { element } from "../../../mor_core/page/strip/dom.js";
import { textOn, tokenLabel, tokenPieces } from "../../../mor_core/page/strip/format.js";

const SIGNS = { hit: "✓", miss: "✗", changed: "↕" };
const DRAWN = new WeakMap();

function drawToken(token, index, data, picked) {
  const node = element(data.mode === "pick" ? "button" : "span", "token");
  node.dataset.testid = "lesson-token";
  node.dataset.position = token.position;
  const text = element("span", "text");
  for (const piece of tokenPieces(token)) text.append(element("span", piece.mark ? "mark" : "", piece.text));
  const digit = element("span", "digit");
  const said = [tokenLabel(token)];
  if (data.mode === "pick") {
    node.type = "button";
    setPicked(node, picked.has(token.position));
    digit.textContent = "?";
  } else {
    const depth = data.depths[index];
    const mark = data.marks[token.position];
    node.setAttribute("role", "listitem");
    node.dataset.depth = depth ?? "";
    digit.textContent = (depth ?? "\u00a0") + (mark ? SIGNS[mark] : "");
    if (depth) {
      const colour = data.colours[depth - 1];
      node.style.setProperty("--token-colour", colour);
      node.style.setProperty("--token-text", textOn(colour));
      said.push(`${data.words.depth} ${depth}`);
    }
    if (mark) {
      node.dataset.mark = mark;
      said.push(data.words[mark]);
    }
  }
  node.setAttribute("aria-label", said.join(", "));
  node.append(text, digit);
  return node;
}

function setPicked(node, isPicked) {
  node.classList.toggle("picked", isPicked);
  node.setAttribute("aria-pressed", String(isPicked));
}

export default function render(component) {
  const { data, parentElement, setStateValue } = component;
  const root = parentElement.querySelector(".lesson-tokens");
  root.setAttribute("aria-label", data.label);
  root.setAttribute("role", data.mode === "pick" ? "group" : "list");
  const { picked: ignored, ...drawn } = data; // what was picked here is known here
  const signature = JSON.stringify(drawn);
  if (DRAWN.get(root) === signature) return;
  DRAWN.set(root, signature);
  const picked = new Set(data.picked);
  root.replaceChildren(...data.tokens.map((token, index) => drawToken(token, index, data, picked)));
  root.onclick = (event) => {
    const node = event.target.closest("button[data-position]");
    if (!node || data.mode !== "pick") return;
    const position = Number(node.dataset.position);
    if (!picked.delete(position)) {
      if (picked.size >= data.most) return;
      picked.add(position);
    }
    setPicked(node, picked.has(position));
    setStateValue("picks", { run: data.run, positions: [...picked] });
  };
}
