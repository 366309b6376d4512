// A picture drawn by hand, bright on black as in the data set; by pointer or by keyboard.
import { get } from "./dom.js";

const PEN_PIXELS = 26;
const STEP_PIXELS = 10;
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const canvas = get("drawing");
const pen = canvas.getContext("2d");
const middle = { x: canvas.width / 2, y: canvas.height / 2 };
let at = middle;
let isDown = false;

/** Shows where the keyboard's pen is. */
function move(point) {
  at = point;
  const mark = get("pen");
  mark.style.left = `${(100 * at.x) / canvas.width}%`;
  mark.style.top = `${(100 * at.y) / canvas.height}%`;
}

function wipe() {
  pen.fillStyle = "black";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  Object.assign(pen, { strokeStyle: "white", lineWidth: PEN_PIXELS, lineCap: "round", lineJoin: "round" });
  move(middle);
}

function lineTo(point) {
  pen.beginPath();
  pen.moveTo(at.x, at.y);
  pen.lineTo(point.x, point.y);
  pen.stroke();
  move(point);
}

/** A place on the screen, in pixels of the canvas. */
function place({ clientX, clientY }) {
  const box = canvas.getBoundingClientRect();
  const scale = canvas.width / box.width;
  return { x: (clientX - box.left) * scale, y: (clientY - box.top) * scale };
}

const within = (number) => Math.max(0, Math.min(canvas.width, number));

/** `drawn` gets the picture after each stroke. */
export function startDrawing(drawn) {
  const give = () => canvas.toBlob((blob) => drawn(blob));
  const lift = () => {
    if (isDown) give();
    isDown = false;
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    isDown = true;
    at = place(event);
    lineTo(at);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (isDown) lineTo(place(event));
  });
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("blur", lift);
  canvas.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step && event.key !== " ") return;
    event.preventDefault();
    if (!step) {
      if (isDown) return lift();
      isDown = true;
      return lineTo(at);
    }
    const [x, y] = step.map((direction) => direction * STEP_PIXELS);
    const next = { x: within(at.x + x), y: within(at.y + y) };
    if (isDown) lineTo(next);
    else move(next);
  });
  get("wipe").addEventListener("click", wipe);
  wipe();
}
