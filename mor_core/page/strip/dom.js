// Elements of the page.

export function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// How much larger than its CSS pixels an element is drawn, as in presenter mode.
export function zoomOf(node) {
  return node.currentCSSZoom ?? 1;
}
