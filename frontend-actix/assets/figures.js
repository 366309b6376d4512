// What the results say together: class mix, throughput, latency, and the broker's lag.
import { bars, columns } from "./charts.js";
import { isRight, latency } from "./cards.js";
import { count, counted, duration, get, percent } from "./dom.js";

const BUCKET_MILLISECONDS = 5_000;
const BUCKETS = 60;
const LATENCIES = 200;
const DRAWN_LATENCIES = 60;
const TICK_MILLISECONDS = 2_500;
const LAG_TICKS = 2;

const mix = new Map([...get("filter").elements.label.options].slice(1).map(({ value }) => [value, 0]));
const throughput = new Map();
const latencies = [];
const lags = [];
let images = 0;
let right = 0;
let known = 0;
let isChanged = true;

/** Counts a result that came `at` this time of this computer's clock, in milliseconds. */
export function addFigures(record, at) {
  for (const prediction of record.predictions) {
    mix.set(prediction.label, (mix.get(prediction.label) ?? 0) + 1);
    const is = isRight(record, prediction);
    known += is === undefined ? 0 : 1;
    right += is ? 1 : 0;
  }
  images += record.predictions.length;
  const bucket = Math.floor(at / BUCKET_MILLISECONDS);
  throughput.set(bucket, (throughput.get(bucket) ?? 0) + record.predictions.length);
  latencies.push(latency(record));
  if (latencies.length > LATENCIES) latencies.shift();
  isChanged = true;
}

function drawMix() {
  const rightWords = known ? `, ${percent(right / known)} right` : "";
  get("mix-text").textContent = images ? `${counted(images, "image")}${rightWords}` : "no image yet";
  const entries = [...mix].map(([label, value]) => ({ label, value }));
  get("mix").replaceChildren(bars("Class mix", entries));
}

function drawThroughput() {
  const now = Math.floor(Date.now() / BUCKET_MILLISECONDS);
  for (const bucket of throughput.keys()) if (bucket <= now - BUCKETS) throughput.delete(bucket);
  const perSecond = Array.from({ length: BUCKETS }, (_, i) =>
    (throughput.get(now - BUCKETS + 1 + i) ?? 0) / (BUCKET_MILLISECONDS / 1000));
  const highest = Math.max(...perSecond);
  const rate = (number) => count(Number(number.toPrecision(3)));
  // The running bucket is not full yet.
  const words = `${rate(Math.max(perSecond.at(-2), perSecond.at(-1)))} images/s now, ${rate(highest)} at most`;
  get("throughput-text").textContent = words;
  get("throughput").replaceChildren(columns(`Images a second in the last 5 minutes: ${words}`, perSecond, ["5 min ago", "now"], rate));
}

function drawLatency() {
  const sorted = latencies.toSorted((a, b) => a - b);
  const percentile = (share) => duration(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]);
  const words = sorted.length
    ? `median ${percentile(0.5)}, 95\u00a0% within ${percentile(0.95)}, 99\u00a0% within ${percentile(0.99)}`
    : "no result yet";
  get("latency-text").textContent = words;
  const drawn = latencies.slice(-DRAWN_LATENCIES);
  get("latency").replaceChildren(columns(`From received to classified, the latest ${drawn.length} results: ${words}`, drawn, ["earlier", "latest"], duration));
}

/** The values of a gauge in Prometheus' text form, as pairs of transport and number. */
export function readLag(text) {
  const lines = text.matchAll(/^fmnist_lag_messages\{([^}]*)\}\s+(\S+)/gm);
  return [...lines].map(([, labels, value]) => [/transport="([^"]*)"/.exec(labels)?.[1] ?? "", Number(value)])
    .filter(([, value]) => Number.isFinite(value));
}

async function drawLag() {
  const text = await fetch("/metrics").then((answer) => (answer.ok ? answer.text() : ""), () => "");
  const found = readLag(text);
  if (!found.length) {
    get("lag-text").textContent = "not known here: this process does not measure it";
    get("lag").replaceChildren();
    return;
  }
  const byTransport = new Map();
  for (const [transport, value] of found) byTransport.set(transport, (byTransport.get(transport) ?? 0) + value);
  const sum = found.reduce((total, [, value]) => total + value, 0);
  lags.push(sum);
  if (lags.length > BUCKETS) lags.shift();
  const each = [...byTransport].map(([transport, value]) => `${transport} ${count(value)}`).join(", ");
  const words = `${counted(sum, "message")} waiting (${each})`;
  get("lag-text").textContent = words;
  get("lag").replaceChildren(columns(`Lag in the last 5 minutes: ${words}`, lags, ["earlier", "now"], count, BUCKETS));
}

/** Draws what has changed. */
export function showFigures() {
  if (document.hidden) return;
  drawThroughput();
  if (!isChanged) return;
  isChanged = false;
  drawMix();
  drawLatency();
}

export function startFigures() {
  let ticks = 0;
  const tick = () => {
    showFigures();
    if (!document.hidden && ticks++ % LAG_TICKS === 0) drawLag();
  };
  tick();
  setInterval(tick, TICK_MILLISECONDS);
  document.addEventListener("visibilitychange", showFigures);
}
