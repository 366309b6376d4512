// Whether broker, model and database can be reached and the consumers get on, in words.
import { brokerTitle, element, get } from "./dom.js";

const INTERVAL_MILLISECONDS = 10_000;
const GOOD = new Set(["warm", "reachable", "ready", "ok", "connected", "running"]);
const NAMES = {
  model: "Model",
  database: "Database",
  brokers: "Brokers",
  results: "Results",
  consumers: "Consumers",
};
const WORDS = { warm: "ready", reachable: "reachable", unreachable: "can't be reached" };

const name = (check) => NAMES[check] ?? brokerTitle(check);

function entry(title, words, isGood) {
  return element("li", { className: isGood ? "good" : "bad" }, element("span", {}, title), ` ${words}`);
}

async function entries() {
  try {
    // An answer of 503 has the reasons in its body, so the status does not matter.
    const { checks } = await fetch("/readyz").then((answer) => answer.json());
    return Object.entries(checks).map(([check, state]) => {
      const words = typeof state === "string" ? state : JSON.stringify(state);
      return entry(name(check), WORDS[words] ?? words, GOOD.has(words));
    });
  } catch {
    return [entry("Server", "does not answer: start it again or check the network", false)];
  }
}

async function show() {
  if (document.hidden) return;
  const link = element("li", {}, element("a", { href: "/readyz" }, "Health"));
  get("health").replaceChildren(link, ...(await entries()));
}

export function startHealth() {
  show();
  setInterval(show, INTERVAL_MILLISECONDS);
  document.addEventListener("trouble", show);
}
