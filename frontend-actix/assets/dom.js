// The page's elements, and how numbers are written.

export const get = (id) => document.getElementById(id);

/** An element with properties and children; text is never read as HTML. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export const count = (number) => number.toLocaleString("en");
export const counted = (number, thing) => `${count(number)} ${thing}${number === 1 ? "" : "s"}`;
export const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;

export function duration(milliseconds) {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds / 60)} min`;
}

/** A class, its probability as words and as a bar. */
export function probabilityBar({ label, probability }) {
  const filled = element("span", { className: "filled" });
  filled.style.width = `${100 * probability}%`;
  const bar = element("span", { className: "bar", ariaHidden: "true" }, filled);
  const name = element("span", { className: "label", title: label }, label);
  const words = element("span", { className: "row level" }, name, " ", element("span", { className: "share" }, percent(probability)));
  return [words, bar];
}

/** Says what was done or what went wrong, with words for each. */
export function say(output, words, isBad = false) {
  output.classList.toggle("bad", isBad);
  output.replaceChildren(...[words].flat());
}

/** Runs a task of a button, once at a time. The button stays focusable, unlike a disabled one. */
export async function once(button, task) {
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true";
  try {
    await task();
  } finally {
    button.ariaDisabled = "false";
  }
}

const broker = () => document.querySelector("input[name=message_broker]:checked");
export const chosenBroker = () => broker()?.value ?? "kafka";
export const brokerTitle = (name) =>
  document.querySelector(`input[name=message_broker][value="${CSS.escape(name)}"]`)?.dataset.title ?? name;
