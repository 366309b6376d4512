// The model in service: its candidate, drift, and what became of models before it.
import { count, counted, element, get, percent } from "./dom.js";

const INTERVAL_MILLISECONDS = 5_000;
const SHOWN_CHANGES = 6;
const SHOWN_PAIRS = 5;
const CHANGES = { swapped: "now serves", refused: "was refused", rolled_back: "was taken back" };
const VERDICTS = { none: "as the training data", moderate: "has moved a little", large: "is another stream" };

const named = ({ name, version }) => `${name} ${version}`;
const short = ({ sha256 }) => sha256.slice(0, 8);

function change({ at, change, from, to, reason }) {
  const time = element("time", { dateTime: at }, new Date(at).toLocaleTimeString("en", { hour12: false }));
  // What was taken back is the model before, what serves or was refused the one after.
  const model = change === "rolled_back" ? from : to;
  const who = model ? `${named(model)} (${short(model)})` : "a file";
  const words = `${who} ${CHANGES[change] ?? change}${reason ? `: ${reason}` : ""}`;
  return element("li", { className: change === "swapped" ? "good" : "bad" }, time, ` ${words}`);
}

function difference({ input, served, candidate }) {
  const picture = element("img", { src: input, width: 56, height: 56, alt: `${served} or ${candidate}` });
  const words = element("figcaption", { className: "help" }, served, element("br"), `→ ${candidate}`);
  return element("figure", {}, picture, words);
}

function showCandidate(candidate) {
  get("candidate").hidden = !candidate;
  if (!candidate) return;
  const { model, compared, agreement, failed, skipped, time_ratio, disagreements, differences } = candidate;
  const agrees = agreement === null ? "not compared yet" : `agrees on ${percent(agreement)} of ${counted(compared, "image")}`;
  const ratio = time_ratio === null ? "" : `, takes ${time_ratio.toFixed(2)} times as long`;
  const missed = `${failed ? `, fails on ${count(failed)}` : ""}${skipped ? `, no time for ${count(skipped)}` : ""}`;
  get("candidate-text").textContent = `${named(model)} (${short(model)}): ${agrees}${ratio}${missed}`;
  const pair = ({ served, candidate, inputs }) => element("li", {}, `${served} → ${candidate}: ${count(inputs)}`);
  get("pairs").replaceChildren(...disagreements.slice(0, SHOWN_PAIRS).map(pair));
  get("differences").replaceChildren(...differences.filter(({ input }) => input).toReversed().map(difference));
}

function showDrift(drift) {
  const output = get("drift");
  output.classList.toggle("bad", drift?.verdict === "large");
  if (!drift) {
    output.textContent = "Drift: not known before 1,000 images";
    return;
  }
  const indexes = Object.entries(drift.indexes).map(([name, index]) => `${name} ${index.toFixed(3)}`).join(", ");
  const unusual = `${percent(drift.unusual)} unusual`;
  output.textContent = `Drift over ${counted(drift.inputs, "image")}: ${VERDICTS[drift.verdict]} (${indexes}; ${unusual})`;
}

async function show() {
  if (document.hidden) return;
  const answer = await fetch("/model").catch(() => undefined);
  const section = get("model");
  section.hidden = !answer?.ok;
  if (!answer?.ok) return;
  const { model, probation_batches, changes, candidate, drift } = await answer.json();
  const probation = probation_batches ? `, on probation for ${counted(probation_batches, "batch").replace("batchs", "batches")}` : "";
  get("model-text").textContent = `${named(model)} (${short(model)})${probation}`;
  get("changes").replaceChildren(...changes.slice(-SHOWN_CHANGES).toReversed().map(change));
  showCandidate(candidate);
  showDrift(drift);
}

export function startModel() {
  show();
  setInterval(show, INTERVAL_MILLISECONDS);
}
