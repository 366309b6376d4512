"use strict";
// The forms work without this file; it shows the answers on the page instead of a new one.

const SHOWN_CARDS = 50;
const SHOWN_LABELS = 24;
const get = (id) => document.getElementById(id);
const percent = (probability) => `${(100 * probability).toFixed(1)} %`;

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

// results
const seen = new Set();

function show(result) {
  if (seen.has(result.id)) return;
  seen.add(result.id);
  get("empty").hidden = true;
  const card = get("card").content.cloneNode(true);
  const images = result.predictions.length;
  const range = result.start_idx === undefined ? `${images} sent image${images === 1 ? "" : "s"}`
    : `${result.start_idx} – ${result.end_idx}`;
  card.querySelector(".title").textContent = range;
  const time = card.querySelector("time");
  time.dateTime = result.inferred_at;
  time.textContent = new Date(result.inferred_at).toLocaleTimeString();
  const labels = card.querySelector(".labels");
  for (const { index, label, probability } of result.predictions.slice(0, SHOWN_LABELS)) {
    const item = element("li", label, probability < 0.7 ? "unsure" : "");
    item.title = `image ${index}: ${percent(probability)}`;
    labels.append(item);
  }
  if (images > SHOWN_LABELS) labels.append(element("li", `and ${images - SHOWN_LABELS} more`));
  const { name, version } = result.model;
  card.querySelector(".source").textContent =
    `${result.source.transport} ${result.id} · ${name} ${version}`;
  const list = get("results");
  list.prepend(card);
  while (list.children.length > SHOWN_CARDS) list.lastElementChild.remove();
}

async function history() {
  const answer = await fetch(`/results?limit=${SHOWN_CARDS}`);
  if (!answer.ok) return;
  const { results } = await answer.json();
  results.reverse().forEach(show);
}

function listen() {
  const live = get("live");
  if (live.hidden) return;
  const stream = new EventSource("/results/stream");
  const state = (text, bad) => { live.textContent = text; live.className = bad ? "bad" : ""; };
  // What was settled while the stream was down is in the history.
  stream.onopen = () => { state("live", false); history(); };
  stream.onmessage = (event) => show(JSON.parse(event.data));
  stream.addEventListener("missed", history);
  stream.onerror = () => state("not connected, trying again", true);
}

// health
async function health() {
  const line = get("health");
  let text = "does not answer", bad = true;
  try {
    const { status, checks } = await (await fetch("/readyz")).json();
    bad = status !== "ready";
    text = `${status} (${Object.entries(checks).map(([name, is]) => `${name} ${is}`).join(", ")})`;
  } catch { /* said by the text */ }
  const link = element("a", "Health");
  link.href = "/readyz";
  line.replaceChildren(link, `: ${text}`);
  line.className = bad ? "bad" : "";
}

// forms
async function ask(output, button, url, options, said) {
  button.disabled = true;
  output.className = "answer";
  output.textContent = "…";
  try {
    const answer = await fetch(url, options);
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.error);
    output.replaceChildren(...said(body));
  } catch (error) {
    output.className = "answer bad";
    output.textContent = `Not done: ${error.message}`;
  }
  button.disabled = false;
}

get("range").addEventListener("submit", (event) => {
  event.preventDefault();
  const fields = new FormData(event.target);
  const query = new URLSearchParams({
    start_idx: fields.get("start_idx"), end_idx: fields.get("end_idx"),
  });
  const url = `/${fields.get("message_broker")}/push-to-consumer?${query}`;
  ask(get("range-answer"), event.submitter, url, { method: "POST" }, (body) =>
    [`Confirmed by ${body.message_queue}: ${body.start_idx} – ${body.end_idx}`]);
});

get("upload").addEventListener("submit", (event) => {
  event.preventDefault();
  const chosen = document.querySelector("input[name=message_broker]:checked");
  const through = "broker" in event.submitter.dataset;
  const url = through && chosen ? `/${chosen.value}/images` : through ? "/kafka/images" : "/classify";
  const options = { method: "POST", body: new FormData(event.target) };
  ask(get("upload-answer"), event.submitter, url, options, (body) => {
    if (!body.predictions) return [`Confirmed by ${body.message_queue}: ${body.id}`];
    const list = element("ul", "", "labels");
    for (const { label, probability } of body.predictions[0].top) {
      list.append(element("li", `${label} ${percent(probability)}`));
    }
    return [list];
  });
});

history().finally(listen);
health();
setInterval(health, 10_000);
