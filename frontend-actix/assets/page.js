// The forms work without this; with it, their answers come onto the page.
import { remember } from "./cards.js";
import { startDrawing } from "./draw.js";
import { startFigures } from "./figures.js";
import { startHealth } from "./health.js";
import { startModel } from "./model.js";
import { DRAWING, choose, startPicture } from "./picture.js";
import { startRange } from "./range.js";
import { startResults } from "./results.js";

for (const hidden of document.querySelectorAll("[data-script]")) hidden.hidden = false;
startRange();
startPicture(remember);
startDrawing((picture) => choose(picture, DRAWING));
startResults();
startFigures();
startHealth();
startModel();
