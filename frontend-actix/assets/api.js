// Requests and, where they fail, words that say what to do.

const AWAY = "The server does not answer. Start it again or check the network, then try once more.";
const ADVICE = {
  401: "Reload the page and sign in.",
  403: "Open the page by the address that the server printed.",
  413: "Choose a smaller picture.",
  500: "The server's log has the reason.",
  503: "Health, at the top, says what is away; try again once it is back.",
};

/** The answer, or an error whose message can be shown. Health hears of trouble. */
export async function ask(url, options) {
  const answer = await fetch(url, options).catch(() => undefined);
  if (answer?.ok) return answer;
  if (!answer || answer.status >= 500) document.dispatchEvent(new Event("trouble"));
  if (!answer) throw new Error(AWAY);
  const said = await answer.json().then((body) => body.error, () => answer.statusText);
  throw new Error([sentence(said), ADVICE[answer.status]].filter(Boolean).join(" "));
}

export const askJson = async (url, options) => (await ask(url, options)).json();

const sentence = (said) => said && `${said[0].toUpperCase()}${said.slice(1)}.`;

// The version in the address lets the browser keep pictures for as long as the test set is the same.
const version = document.body.dataset.set;

/** Images a row of a sheet, as the server lays them out. */
export const SHEET_COLUMNS = 10;
/** The most that one sheet shows. */
export const SHEET_IMAGES = 250;
export const sheetUrl = (start, end) => `/images.png?start_idx=${start}&end_idx=${end}&set=${version}`;

/** The test set's true labels by index; none where they are not known. */
export const truths = askJson(`/labels?set=${version}`).then(
  ({ classes, labels }) => ({ classes: new Set(classes), of: (index) => classes[labels[index]] }),
  () => ({ classes: new Set(), of: () => undefined }),
);
