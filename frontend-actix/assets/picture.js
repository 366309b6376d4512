// A picture of the user's own: chosen, dropped, pasted or drawn; what the model sees of it and says.
import { ask, askJson } from "./api.js";
import { brokerTitle, chosenBroker, element, get, once, probabilityBar, say } from "./dom.js";

/** Larger ones don't fit into a Kafka message; the model looks at 28 pixels a side anyway. */
const STREAM_BYTES = 900_000;
const STREAM_PIXELS = 800;
export const DRAWING = "drawing";

const form = get("upload");
const file = form.elements.image;
let chosen;

/** Looks at a picture as the model does, and classifies it at once. */
export async function choose(blob, name) {
  const mine = { blob, name };
  chosen = mine;
  const answer = get("upload-answer");
  say(get("stream-answer"), "");
  say(answer, "Looking …");
  const post = { method: "POST", body: blob };
  try {
    const [bitmap, prepared, { predictions }] = await Promise.all([
      createImageBitmap(blob).catch(() => undefined),
      ask("/prepare", post).then((found) => found.blob()).then(createImageBitmap),
      askJson("/classify", post),
    ]);
    if (chosen !== mine) return;
    mine.prepared = prepared;
    show(bitmap ?? prepared, prepared, name);
    const [prediction] = predictions;
    if (prediction.blank) {
      say(answer, "Nothing stands out from the ground, so nothing is named. Try one that differs more from what it lies on.");
      return;
    }
    const bars = prediction.top.map((top) => element("li", {}, ...probabilityBar(top)));
    say(answer, element("ol", { className: "bars", ariaLabel: "Most probable classes" }, ...bars));
  } catch (error) {
    if (chosen !== mine) return;
    chosen = undefined;
    get("seen").hidden = true;
    say(answer, `${name}: ${error.message}`, true);
  }
}

function show(original, prepared, name) {
  contain(get("original"), original);
  contain(get("prepared"), prepared);
  // A drawing is to be seen on its board already.
  get("original").parentElement.hidden = name === DRAWING;
  get("picture-name").textContent = name;
  get("seen").hidden = false;
}

function contain(canvas, picture) {
  const scale = Math.min(canvas.width / picture.width, canvas.height / picture.height);
  const [width, height] = [picture.width * scale, picture.height * scale];
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(picture, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
}

/** The picture, made smaller if a message could not carry it. */
async function fitting(blob) {
  if (blob.size <= STREAM_BYTES) return blob;
  const picture = await createImageBitmap(blob);
  const scale = STREAM_PIXELS / Math.max(picture.width, picture.height, STREAM_PIXELS);
  const canvas = new OffscreenCanvas(Math.ceil(picture.width * scale), Math.ceil(picture.height * scale));
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 });
}

async function stream(remember) {
  const answer = get("stream-answer");
  const sent = chosen;
  say(answer, "Sending …");
  try {
    const body = await fitting(sent.blob);
    const { message_queue, id } = await askJson(`/${chosenBroker()}/images`, { method: "POST", body });
    const smaller = body === sent.blob ? "" : `, made smaller to ${STREAM_PIXELS} pixels`;
    say(answer, `${brokerTitle(message_queue)} confirmed ${sent.name}${smaller}, as ${id}.`);
    remember(id, sent);
  } catch (error) {
    say(answer, error.message, true);
  }
}

function takeFiles(files) {
  const picture = [...files].find(({ type }) => type.startsWith("image/")) ?? files[0];
  if (picture) choose(picture, picture.name || "pasted picture");
}

/** `remember` is told which message carries which picture. */
export function startPicture(remember) {
  form.noValidate = true;
  file.addEventListener("change", () => takeFiles(file.files));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!chosen) {
      say(get("upload-answer"), "Choose, drop, paste or draw a picture first.", true);
      file.focus();
      return;
    }
    const isStream = "broker" in event.submitter.dataset;
    once(event.submitter, () => (isStream ? stream(remember) : choose(chosen.blob, chosen.name)));
  });
  document.addEventListener("paste", ({ clipboardData }) => takeFiles(clipboardData.files));
  // Anywhere on the page, because a browser leaves the page for a file that misses.
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    get("drop").classList.add("over");
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => {
    if (!relatedTarget) get("drop").classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    get("drop").classList.remove("over");
    takeFiles(event.dataTransfer.files);
  });
  const nameBroker = () => {
    form.querySelector("[data-broker]").textContent = `Send through ${brokerTitle(chosenBroker())}`;
  };
  get("range").addEventListener("change", nameBroker);
  nameBroker();
}
