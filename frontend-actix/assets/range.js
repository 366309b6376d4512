// The form for ranges: what is in the range, whether it can be sent, and what became of it.
import { SHEET_COLUMNS, askJson, sheetUrl } from "./api.js";
import { brokerTitle, chosenBroker, count, counted, element, get, once, say } from "./dom.js";

const PREVIEWED = 100;
const TILE_PIXELS = 28;
const images = Number(document.body.dataset.images);
const form = get("range");
const { start_idx: startField, end_idx: endField } = form.elements;

/** Why the range can't be sent; nothing if it can. */
function problem() {
  const [start, end] = [startField.value, endField.value].map(Number);
  if (![startField, endField].every(({ value }) => /^\d+$/.test(value))) {
    return "Start and end have to be whole numbers, such as 0 and 5.";
  }
  if (end > images) return `The end is at most ${count(images)}, the number of images.`;
  if (start >= end) return "The end has to be above the start: 0 to 5 asks for five images.";
  return "";
}

function refresh() {
  const wrong = problem();
  for (const field of [startField, endField]) field.ariaInvalid = wrong ? "true" : "false";
  say(get("range-answer"), wrong, true);
  if (wrong) clearPreview();
  else preview(Number(startField.value), Number(endField.value));
}

/** Pictures beside a range that can't be are of another one. */
function clearPreview() {
  const image = get("preview");
  if (!image) return;
  image.hidden = true;
  image.removeAttribute("src");
  get("preview-text").textContent = "";
}

function preview(start, end) {
  const image = get("preview");
  if (!image) return;
  const shown = Math.min(end - start, PREVIEWED);
  const text = `Images ${start} to ${start + shown - 1} of the test set`;
  image.hidden = false;
  image.src = sheetUrl(start, start + shown);
  image.width = Math.min(shown, SHEET_COLUMNS) * TILE_PIXELS;
  image.height = Math.ceil(shown / SHEET_COLUMNS) * TILE_PIXELS;
  image.style.width = `${Math.min(shown, SHEET_COLUMNS) * 100 / SHEET_COLUMNS}%`;
  image.alt = text;
  const more = end - start - shown;
  get("preview-text").textContent = more ? `${text}, and ${count(more)} more` : text;
}

/** Sets a range of so many images, moved into the test set. */
function take(start, length) {
  const first = Math.max(0, Math.min(start, images - length));
  startField.value = first;
  endField.value = Math.min(first + length, images);
  refresh();
}

function propose({ target }) {
  const start = Number(startField.value) || 0;
  const length = Math.max(1, Number(endField.value) - start) || 1;
  if (target.dataset.count) take(start, Math.min(Number(target.dataset.count), images));
  if ("elsewhere" in target.dataset) take(Math.floor(Math.random() * (images - length + 1)), length);
}

async function send() {
  const answer = get("range-answer");
  refresh();
  if (problem()) {
    startField.focus();
    return;
  }
  const [start, end] = [startField.value, endField.value];
  say(answer, "Sending …");
  try {
    const query = new URLSearchParams({ start_idx: start, end_idx: end });
    const { message_queue } = await askJson(`/${chosenBroker()}/push-to-consumer?${query}`, { method: "POST" });
    say(answer, [
      `${brokerTitle(message_queue)} confirmed ${counted(end - start, "image")}, ${start} up to ${end}. `,
      element("a", { href: "#results-title" }, "To the results"),
    ]);
  } catch (error) {
    say(answer, error.message, true);
  }
}

export function startRange() {
  // The words here say more than the browser's own.
  form.noValidate = true;
  form.addEventListener("input", refresh);
  form.addEventListener("click", propose);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    once(event.submitter, send);
  });
  preview(Number(startField.value), Number(endField.value));
}
