// Small charts as SVG. Each carries its numbers as text, for those who do not see it.

const NAMESPACE = "http://www.w3.org/2000/svg";
/** How wide a letter of a name is, for most letters. */
const LETTER = 6;

function svg(name, attributes, ...children) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const picture = (words, width, height, children) =>
  svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words }, ...children);

/** A name that ends where its column does; the whole is told to whoever points at it. */
function nameWithin(width, label, y) {
  const letters = Math.floor(width / LETTER);
  const shown = label.length > letters ? `${label.slice(0, letters - 1)}…` : label;
  return svg("text", { x: 0, y }, shown, svg("title", {}, label));
}

/** Horizontal bars with a name and a number each. */
export function bars(title, entries) {
  const [width, line, numbers] = [230, 13, 30];
  const longest = Math.max(...entries.map(({ label }) => label.length));
  const names = Math.min(96, Math.max(66, longest * LETTER));
  const most = Math.max(1, ...entries.map(({ value }) => value));
  const room = width - names - numbers;
  const children = entries.flatMap(({ label, value }, i) => {
    const y = i * line;
    const length = (room * value) / most;
    return [
      nameWithin(names, label, y + 10),
      svg("rect", { x: names, y: y + 3, width: length, height: line - 5, rx: 1.5, class: "value" }),
      svg("text", { x: names + length + 4, y: y + 10, class: "number" }, String(value)),
    ];
  });
  const words = entries.map(({ label, value }) => `${label} ${value}`).join(", ");
  return picture(`${title}: ${words}`, width, entries.length * line, children);
}

/** Upright columns over time, the latest at the right; `slots` keeps their width as they come. */
export function columns(words, values, [from, to], written, slots = Math.max(values.length, 30)) {
  const [width, height, head, foot] = [230, 112, 14, 14];
  const highest = Math.max(0, ...values);
  const floor = height - foot;
  const step = width / slots;
  const first = slots - values.length;
  const children = values.map((value, i) => {
    const tall = value > 0 ? Math.max(1.5, ((floor - head) * value) / highest) : 0;
    return svg("rect", { x: (first + i) * step, y: floor - tall, width: step * 0.8, height: tall, class: "value" });
  });
  children.push(
    svg("line", { x1: 0, y1: floor, x2: width, y2: floor, class: "axis" }),
    svg("line", { x1: 0, y1: head, x2: width, y2: head, class: "axis" }),
    svg("text", { x: 0, y: head - 4 }, highest ? written(highest) : ""),
    svg("text", { x: 0, y: height - 3 }, from),
    svg("text", { x: width, y: height - 3, "text-anchor": "end" }, to),
  );
  return picture(words, width, height, children);
}
