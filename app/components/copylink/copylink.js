// Copies the page's address. Where the page is not served safely (plain http on a LAN) browsers lend no clipboard:
// there the address is selected in a field and copied as a person would.

const SHOWN_MS = 2500;

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

export default function render({ parentElement, data }) {
  const button = parentElement.querySelector(".copy-link");
  const said = parentElement.querySelector(".said");
  button.setAttribute("aria-label", data.label);
  button.title = data.label;
  button.onclick = async () => {
    const address = window.location.href;
    const done = await copy(address).catch(() => false);
    said.textContent = done ? data.copied : address;
    setTimeout(() => { said.textContent = ""; }, SHOWN_MS);
  };
}
