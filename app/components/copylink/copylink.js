// Copies the page's address. Over plain HTTP, as on a LAN, browsers do not offer the clipboard API: there the script
// selects the address in a temporary field and copies it with a command.

/** @import { Component } from "../../../mor_core/page/strip/types" */

const SHOWN_MS = 2500;

/** @param {string} text */
async function copy(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return true;
  }
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

/** @param {Component<{ label: string, copied: string }>} component */
export default function render({ parentElement, data }) {
  const button = /** @type {HTMLElement} */ (parentElement.querySelector(".copy-link"));
  const status = /** @type {HTMLElement} */ (parentElement.querySelector(".said"));
  button.setAttribute("aria-label", data.label);
  button.title = data.label;
  button.onclick = async () => {
    const address = window.location.href;
    const done = await copy(address).catch(() => false);
    status.textContent = done ? data.copied : address;
    setTimeout(() => { status.textContent = ""; }, SHOWN_MS);
  };
}
