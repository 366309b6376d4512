// One result as a card: pictures, labels, probabilities, the truth where it is known.
import { SHEET_COLUMNS, SHEET_IMAGES, sheetUrl, truths } from "./api.js";
import { brokerTitle, count, counted, duration, element, percent, probabilityBar } from "./dom.js";

const FIRST_TILES = 8;
const TILE_PIXELS = 56;
const { classes, of: truthOf } = await truths;
const isSynthetic = "synthetic" in document.body.dataset;

/** Pictures that this page sent, by the id of their message; others only a database has. */
const sent = new Map();
const SENT_PICTURES = 200;

const messageOf = (id) => id.replace(/#\d+\/\d+$/, "");
export const isRange = (record) => record.start_idx !== undefined;
export const latency = (record) => Date.parse(record.inferred_at) - Date.parse(record.received_at);

/** Whether a prediction is right; undefined where the truth is not known. */
export function isRight(record, { index, label }) {
  const truth = isRange(record) ? truthOf(index) : undefined;
  return truth === undefined || !classes.has(label) ? undefined : truth === label;
}

/** How many of the predictions are right, of how many whose truth is known. */
export function score(record) {
  const known = record.predictions.map((prediction) => isRight(record, prediction)).filter((is) => is !== undefined);
  return { right: known.filter(Boolean).length, known: known.length };
}

export function title(record) {
  if (isRange(record)) return `Images ${record.start_idx} to ${record.end_idx - 1}`;
  return sent.get(messageOf(record.id))?.name ?? counted(record.predictions.length, "image") + " sent in";
}

/** Remembers a picture, and puts it on its card if the answer was faster than the confirmation. */
export function remember(id, picture) {
  sent.set(id, picture);
  if (sent.size > SENT_PICTURES) sent.delete(sent.keys().next().value);
  for (const card of document.querySelectorAll(".card")) {
    if (card.record.id === id) card.replaceWith(makeCard(card.record, card.sought));
  }
}

function pictureFromSheet(position, start, end) {
  const [column, row] = [position % SHEET_COLUMNS, Math.floor(position / SHEET_COLUMNS)];
  const picture = element("span", { className: "picture" });
  picture.style.backgroundImage = `url("${sheetUrl(start, end)}")`;
  picture.style.backgroundSize = `${Math.min(end - start, SHEET_COLUMNS) * TILE_PIXELS}px`;
  picture.style.backgroundPosition = `${-column * TILE_PIXELS}px ${-row * TILE_PIXELS}px`;
  return picture;
}

function sentPicture({ prepared }) {
  const canvas = element("canvas", { className: "picture", width: 28, height: 28, role: "img", ariaLabel: "What the model sees" });
  canvas.getContext("2d").drawImage(prepared, 0, 0);
  return canvas;
}

/** The picture of a prediction as the database has it. */
function keptPicture(record, position) {
  const unknown = () => element("span", { className: "picture unknown" }, "?");
  if (!("kept" in document.body.dataset)) return unknown();
  const query = new URLSearchParams({ id: messageOf(record.id), index: record.predictions[position].index });
  const picture = element("img", { className: "picture", width: 28, height: 28, alt: "What the model sees", src: `/results/picture?${query}` });
  picture.addEventListener("error", () => picture.replaceWith(unknown()));
  return picture;
}

/** The picture of a prediction; of a range, cut from the sheet of all from `start` up to `end`. */
function pictureOf(record, position, [start, end]) {
  if (!isRange(record)) {
    const picture = sent.get(messageOf(record.id));
    return picture ? sentPicture(picture) : keptPicture(record, position);
  }
  const index = record.predictions[start].index;
  return pictureFromSheet(position - start, index, index + end - start);
}

function truthWords(record, prediction) {
  const right = isRight(record, prediction);
  if (right === undefined) return [];
  const words = right ? "✓ right" : `✗ really ${truthOf(prediction.index)}`;
  return [element("span", { className: right ? "truth right" : "truth wrong", title: words }, words)];
}

function tile(record, prediction, picture) {
  const [best, ...others] = prediction.top?.length ? prediction.top : [prediction];
  const words = element("div", { className: "words" });
  if (prediction.blank) words.append("nothing to see");
  else words.append(...probabilityBar(best), ...truthWords(record, prediction), ...others.flatMap(probabilityBar));
  const made = element("li", { className: "tile" }, picture, words);
  if (isRange(record)) made.title = `image ${prediction.index}`;
  return made;
}

/** Positions of the predictions, those with the label that is sought first. */
function order(predictions, sought) {
  const positions = [...predictions.keys()];
  const isSought = (position) => predictions[position].label === sought;
  return [...positions.filter(isSought), ...positions.filter((position) => !isSought(position))];
}

/** The tiles of a card in two parts: what is shown at once, and what a button adds. One request a sheet. */
function tiles(record, sought) {
  const all = record.predictions.length;
  const ordered = order(record.predictions, sought);
  const isMoved = ordered.slice(0, FIRST_TILES).some((position, i) => position !== i);
  const make = (positions, sheet) => positions.map((position) =>
    tile(record, record.predictions[position], pictureOf(record, position, sheet(position))));
  const sheet = (from) => (position) => {
    const start = from + Math.floor((position - from) / SHEET_IMAGES) * SHEET_IMAGES;
    return [start, Math.min(start + SHEET_IMAGES, all)];
  };
  const single = (position) => [position, position + 1];
  const head = () => [0, Math.min(all, FIRST_TILES)];
  return {
    first: make(ordered.slice(0, FIRST_TILES), isMoved ? single : head),
    others: () => make(ordered.slice(FIRST_TILES), sheet(isMoved ? 0 : FIRST_TILES)),
  };
}

function scoreWords(record) {
  const { right, known } = score(record);
  if (!known) return [];
  const words = `${count(right)} of ${count(known)} right`;
  return [element("span", { className: "score" }, known > 20 ? `${words} (${percent(right / known)})` : words)];
}

/** `sought` is a label whose images come first. */
export function makeCard(record, sought) {
  const all = record.predictions.length;
  const { first, others } = tiles(record, sought);
  const list = element("ul", { className: "tiles" }, ...first);
  const time = element("time", { dateTime: record.inferred_at }, new Date(record.inferred_at).toLocaleTimeString());
  const badge = isSynthetic && isRange(record) ? [element("span", { className: "badge" }, "synthetic")] : [];
  const head = element("div", { className: "row head" },
    element("h3", {}, title(record)), ...badge, ...scoreWords(record), time);
  const { name, version } = record.model;
  const source = element("p", { className: "help source" },
    [brokerTitle(record.source.transport), duration(latency(record)), `${name} ${version}`, record.id].join(" · "));
  const card = element("li", { className: "card", record, sought }, head, list);
  if (all > FIRST_TILES) {
    const more = element("button", { type: "button", className: "quiet" }, `Show all ${count(all)}`);
    more.addEventListener("click", () => {
      list.append(...others());
      list.children[FIRST_TILES].tabIndex = -1;
      list.children[FIRST_TILES].focus();
      more.remove();
    });
    card.append(more);
  }
  card.append(source);
  return card;
}
