// Talks to this page's own server. The key comes in the address's fragment, stays in this tab, and leaves the
// address bar at once.

const HEADER = "X-CrypDoc-Token";
const SLOT = "crypdoc-token";

function key() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(SLOT, given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(SLOT) ?? "";
}

const token = key();

/** What the server refused, with its remedy. `status` 0: it could not be reached. */
export class Refusal extends Error {
  constructor(status, fault, remedy) {
    super(remedy ? `${fault}; ${remedy}.` : `${fault}.`);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { [HEADER]: token, ...options.headers }, cache: "no-store" });
  } catch {
    throw new Refusal(0, "the agent does not answer", "see whether it still runs");
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Refusal(answer.status, said.error ?? `the agent refused (${answer.status})`, said.remedy ?? "");
  }
  return answer;
}

export const getJson = async (path) => (await ask(path)).json();
export const getBlob = async (path) => (await ask(path)).blob();

export async function postJson(path, body) {
  const headers = { "Content-Type": "application/json" };
  return (await ask(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

export async function postFile(path, file) {
  const form = new FormData();
  form.append("file", file);
  return (await ask(path, { method: "POST", body: form })).json();
}

/** Calls `use` with the answer of `path` now and every `pause` ms while the page is visible; `fail` with a Refusal. */
export function follow(path, pause, use, fail) {
  let timer = 0;
  const turn = async () => {
    clearTimeout(timer);
    try {
      use(await getJson(path));
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      fail(refusal);
    } finally {
      timer = setTimeout(() => document.hidden || turn(), pause);
    }
  };
  document.addEventListener("visibilitychange", () => document.hidden || turn());
  turn();
  return turn;
}
