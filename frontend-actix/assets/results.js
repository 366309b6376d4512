// The list of results: live while its first page is shown, with filter and pages of what was before.
import { askJson } from "./api.js";
import { makeCard, score, title } from "./cards.js";
import { count, counted, get, say } from "./dom.js";
import { addFigures, showFigures } from "./figures.js";

const PAGE = 10;
const CHARTED_PAGE = 100;
const CHARTED_PAGES = 10;
const BATCH_MILLISECONDS = 100;
const REMEMBERED = 10_000;

const form = get("filter");
const list = get("results");
const seen = new Set();
let offset = 0;
let total = 0;
let fresh = 0;
let asked = 0;
let arrived = [];

/** The filter's fields that are filled in. */
const filter = () => Object.fromEntries([...new FormData(form)].filter(([, value]) => value));

function takes(record) {
  const { label, transport, id } = filter();
  return (!id || record.id === id) && (!transport || record.source.transport === transport)
    && (!label || record.predictions.some((prediction) => prediction.label === label));
}

/** Of a label that is sought, the images first. */
const cards = (records) => records.map((record) => makeCard(record, filter().label));

/** Ids alone repeat in a database that outlives a topic. */
const keyOf = ({ id, received_at }) => `${id} ${received_at}`;

/** True for a result that was not there before: it comes live and with the history. */
function isNew(record) {
  const key = keyOf(record);
  if (seen.has(key)) return false;
  seen.add(key);
  if (seen.size > REMEMBERED) seen.delete(seen.values().next().value);
  return true;
}

function nothing() {
  if (total) return "";
  if (Object.keys(filter()).length) return "No result matches. Clear the filter to see all.";
  // Where no results are read, the page says so already.
  return get("live") ? "Nothing has been classified yet. Send a range, and its result appears here." : "";
}

function describe() {
  const words = nothing();
  get("nothing").textContent = words;
  get("nothing").hidden = !words;
  const last = Math.min(offset + PAGE, total);
  const waiting = offset && fresh ? `, ${count(fresh)} new` : "";
  get("position").textContent = `${count(offset + 1)} to ${count(last)} of ${count(total)}${waiting}`;
  get("pager").hidden = total <= PAGE && offset === 0;
  get("newer").ariaDisabled = String(offset === 0);
  get("older").ariaDisabled = String(last >= total);
}

/** Asks for the page at `offset`; the last one asked for is shown. */
export async function load() {
  const mine = ++asked;
  try {
    const query = new URLSearchParams({ ...filter(), limit: PAGE, offset });
    const answer = await askJson(`/results?${query}`);
    if (mine !== asked) return;
    total = answer.total;
    fresh = 0;
    list.replaceChildren(...cards(answer.results));
    describe();
  } catch (error) {
    if (mine !== asked) return;
    say(get("nothing"), `The results can't be shown. ${error.message}`, true);
    get("nothing").hidden = false;
  }
}

/** What was settled before the page was opened counts in the figures, too, as far as it is remembered. */
async function countEarlier() {
  const earlier = [];
  for (let page = 0; page < CHARTED_PAGES; page += 1) {
    const { results } = await askJson(`/results?limit=${CHARTED_PAGE}&offset=${page * CHARTED_PAGE}`);
    const fresh = results.filter(isNew);
    earlier.push(...fresh);
    // Behind a page that was counted already is nothing new; what comes meanwhile only moves the pages.
    if (results.length < CHARTED_PAGE || !fresh.length) break;
  }
  for (const record of earlier.reverse()) addFigures(record, Date.parse(record.inferred_at));
  showFigures();
}

/** Shows what came since the last time, all at once: a flood must not cost a card each. */
function flush() {
  const records = arrived;
  arrived = [];
  // An answer of the history may already have had it.
  const listed = new Set([...list.children].map((card) => keyOf(card.record)));
  const matching = records.filter((record) => takes(record) && !listed.has(keyOf(record)));
  total += matching.length;
  if (offset) {
    fresh += matching.length;
  } else {
    list.prepend(...cards(matching.slice(-PAGE).reverse()));
    while (list.children.length > PAGE) list.lastElementChild.remove();
  }
  get("nothing").classList.remove("bad");
  describe();
  announce(records);
}

/** A sentence for those who do not see the list, however many results came. */
function announce(records) {
  const { right, known } = score(records.at(-1));
  const words = known ? `${title(records.at(-1))}: ${right} of ${known} right` : title(records.at(-1));
  get("news").textContent = records.length === 1 ? `Result: ${words}` : `${counted(records.length, "new result")}`;
}

function arrive(record) {
  if (!isNew(record)) return;
  addFigures(record, Date.now());
  if (!arrived.length) setTimeout(flush, BATCH_MILLISECONDS);
  arrived.push(record);
}

function listen() {
  // What was settled while the stream was down is in the history.
  const catchUp = () => countEarlier().then(load, load);
  const live = get("live");
  if (!live) return catchUp();
  const state = (text, isBad) => {
    live.textContent = text;
    live.classList.toggle("bad", isBad);
  };
  const stream = new EventSource("/results/stream");
  stream.onopen = () => {
    state("live", false);
    catchUp();
  };
  stream.onmessage = (event) => arrive(JSON.parse(event.data));
  stream.addEventListener("missed", catchUp);
  stream.onerror = () => {
    const isOver = stream.readyState === EventSource.CLOSED;
    state(isOver ? "not connected: reload the page" : "not connected, trying again", true);
  };
}

function turn(pages) {
  offset = Math.max(0, offset + pages * PAGE);
  load();
}

export function startResults() {
  form.addEventListener("submit", (event) => event.preventDefault());
  const refilter = () => {
    offset = 0;
    load();
  };
  form.addEventListener("input", refilter);
  // A reset empties the fields after this event.
  form.addEventListener("reset", () => setTimeout(refilter));
  const press = (button, pages) => button.addEventListener("click", () => {
    if (button.ariaDisabled !== "true") turn(pages);
  });
  press(get("newer"), -1);
  press(get("older"), 1);
  listen();
}
