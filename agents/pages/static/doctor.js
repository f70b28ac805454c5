// The doctor's desk: the list of cases, the viewer, one ballot at a time.

import { Refusal, follow, getBlob, postJson } from "./api.js";
import { byId, capital, clock, el, facts, money, shortId, whole } from "./dom.js";
import { Viewer } from "./viewer.js";

const PAUSE = 1500;
const SOON = 60;
const INSUFFICIENT = "Insufficient evidence";
const STATES = {
  waiting: ["to read", "wait"],
  read: ["sealing", ""],
  committed: ["sealed", ""],
  revealed: ["revealed", ""],
  settled: ["settled", "good"],
  declined: ["not yours", ""],
};
const STORY = {
  read: "Your verdict is on its way to the chain.",
  committed: "Sealed. It is opened by your agent, on its own, when every doctor of the panel has sealed.",
  revealed: "Opened. The case settles when the others have opened theirs, or their time is over.",
  declined: "This seat is not yours: it was declined, or it was given to another doctor.",
};

const desk = { cases: [], chosen: null, shown: null, ahead: 0, choice: undefined, sure: null, busy: false, mask: false };
const viewer = new Viewer(byId("canvas"), (look) => {
  byId("window").value = look.window;
  byId("level").value = look.level;
  byId("invert").setAttribute("aria-pressed", look.invert);
});

const again = follow("/api/desk", PAUSE, takeDesk, trouble);
setInterval(countDown, 500);

function takeDesk(answer) {
  trouble(null);
  desk.ahead = answer.now - Date.now() / 1000;
  showStatus(answer.status);
  byId("nocases").hidden = answer.cases.length > 0;
  if (JSON.stringify(answer.cases) === JSON.stringify(desk.cases)) return;
  desk.cases = answer.cases;
  if (!chosen()) choose((desk.cases.find((c) => c.state === "waiting") ?? desk.cases[0])?.id ?? null);
  else render();
}

const chosen = () => desk.cases.find((c) => c.id === desk.chosen);

function trouble(refusal) {
  const line = byId("trouble");
  line.hidden = !refusal;
  line.textContent = refusal ? capital(refusal.message) : "";
}

function showStatus(status) {
  const { name, wallet, reputation, balance_wei: balance, peers, chain } = status;
  byId("who").replaceChildren(el("b", {}, name), " ", el("code", { class: "quiet", title: wallet }, shortId(wallet)));
  const parts = [["Reputation", whole(reputation)], ["Balance", money(balance)], ["Peers", whole(peers)]];
  const items = parts.map(([term, value]) => el("span", {}, `${term} `, el("b", { class: "num" }, value)));
  byId("standing").replaceChildren(...items, el("span", {}, chain));
}

function choose(id) {
  if (id !== desk.chosen) Object.assign(desk, { chosen: id, choice: undefined, sure: null, mask: false });
  byId("slice").value = 0;
  render();
}

function render() {
  renderList();
  const one = chosen();
  showImage(one).catch(imageFailed);
  byId("facts").replaceChildren(...(one ? caseFacts(one) : [el("p", { class: "quiet" }, "No case is chosen.")]));
  byId("outcome").replaceChildren(...(one ? story(one) : []));
  const open = one?.state === "waiting" && one.image_available;
  byId("ballot").hidden = !open;
  if (open) renderBallot(one);
  countDown();
}

function renderList() {
  const focused = document.activeElement?.dataset?.case;
  const items = desk.cases.map((one) => {
    const [word, kind] = STATES[one.state] ?? [one.state, ""];
    const top = el("span", { class: "row" }, el("span", { class: "name" }, capital(one.specialty)), el("span", { class: "num small" }, money(one.bounty_wei)));
    const low = el("span", { class: "row quiet small" }, el("code", {}, shortId(one.id)), el("span", { class: `chip ${kind}` }, word));
    const mark = one.id === desk.chosen;
    return el("li", {}, el("button", { type: "button", "data-case": one.id, "aria-current": mark && "true", onclick: () => choose(one.id) }, top, low));
  });
  byId("cases").replaceChildren(...items);
  if (focused) document.querySelector(`[data-case="${CSS.escape(focused)}"]`)?.focus();
}

async function showImage(one) {
  const mask = desk.mask && one?.findings != null;
  const wanted = one?.image_available ? `/api/cases/${encodeURIComponent(one.id)}/${mask ? "mask" : "image"}` : null;
  byId("blank").hidden = wanted !== null;
  byId("blank").textContent = one ? "The scan has not come yet" : "No case is chosen";
  if (wanted === desk.shown) return;
  desk.shown = wanted;
  const blob = wanted === null ? null : await getBlob(wanted);
  if (desk.shown !== wanted) return;
  await viewer.show(blob, mask);
  showSlice(one);
}

// A volume's slices stand side by side on one picture: 0 shows them all, a number one of them.
function showSlice(one, by = 0) {
  const slices = one?.image_available ? one.slices : null;
  byId("slicebox").hidden = !slices;
  if (!slices) return;
  const range = byId("slice");
  range.max = slices.shown;
  range.value = Number(range.value) + by;
  const number = Number(range.value);
  byId("sliceout").textContent = number ? `${number}/${slices.shown}` : "all";
  byId("slicebox").title = `${slices.shown} of ${slices.of} slices, evenly from the lowest to the highest; 0 shows all of them`;
  const { width, height } = viewer.sheet ?? { width: 0, height: 0 };
  const [wide, high] = [Math.floor(width / slices.columns), Math.floor(height / slices.rows)];
  const [row, column] = [Math.floor((number - 1) / slices.columns), (number - 1) % slices.columns];
  if (wide && high) viewer.cut(number ? { x: column * wide, y: row * high, width: wide, height: high } : null);
}

function imageFailed(problem) {
  desk.shown = undefined;
  viewer.show(null);
  byId("blank").hidden = false;
  byId("blank").textContent = problem instanceof Refusal ? capital(problem.message) : "This scan cannot be shown.";
}

function caseFacts(one) {
  const came = new Date(one.received_at * 1000).toLocaleString();
  return [
    el("h2", {}, capital(one.specialty)),
    el("p", { class: "countdown", id: "countdown", hidden: true }),
    facts([["Case", shortId(one.id)], ["For this seat", money(one.bounty_wei)], ["Modality", one.modality], ["Came", came]]),
  ];
}

function countDown() {
  const [one, line] = [chosen(), byId("countdown")];
  if (!line) return;
  const left = one?.deadline == null ? null : one.deadline - (Date.now() / 1000 + desk.ahead);
  line.hidden = one?.state !== "waiting" || left === null;
  line.classList.toggle("soon", left !== null && left < SOON);
  line.replaceChildren(left > 0 ? "Time left to seal" : "The time to seal is", el("b", {}, left > 0 ? clock(left) : "over"));
}

function renderBallot(one) {
  const row = (label, text, digit) => {
    const attributes = { type: "button", class: label === null ? "unsure" : "", "aria-pressed": String(desk.choice === label) };
    return el("button", { ...attributes, onclick: () => pick(label) }, text, el("kbd", { "aria-hidden": "true" }, digit));
  };
  const rows = one.labels.map((label, index) => row(label, capital(label), String(index + 1)));
  byId("labels").replaceChildren(...rows, row(null, INSUFFICIENT, "0"));
  byId("surebox").hidden = desk.choice === null;
  byId("sureout").textContent = desk.sure === null ? "not set" : `${desk.sure} %`;
  byId("sure").value = desk.sure ?? 50;
  const ready = desk.choice === null || (desk.choice !== undefined && desk.sure !== null);
  byId("seal").disabled = desk.busy || !ready;
}

function pick(label) {
  const one = chosen();
  if (one?.state !== "waiting") return;
  desk.choice = label;
  renderBallot(one);
}

const words = (label, sure) => (label === null ? INSUFFICIENT : `${capital(label)}, ${sure} % sure`);

function story(one) {
  const parts = [];
  if (one.state !== "waiting" && (one.own_label !== null || one.own_confidence !== null)) {
    parts.push(el("p", { class: "quiet small" }, "You said"), el("p", { class: "said" }, words(one.own_label, one.own_confidence)));
  }
  if (STORY[one.state]) parts.push(el("p", {}, STORY[one.state]));
  if (one.state === "waiting" && !one.image_available) parts.push(el("p", {}, "You took this seat; the patient's agent is sending the scan."));
  if (one.note) parts.push(el("p", { class: "quiet" }, one.note));
  if (one.findings) parts.push(...findingParts(one.findings));
  return one.result ? [...parts, ...resultParts(one.result)] : parts;
}

// What the model found in a volume: it comes when no verdict of the panel can be changed any more.
function findingParts(found) {
  const share = found.percent === null ? "no lung was found" : `${found.percent.toFixed(1)} %`;
  const turn = () => {
    desk.mask = !desk.mask;
    render();
  };
  return [
    el("p", { class: "quiet small" }, "What the model found"),
    facts([
      ["Severity", capital(found.severity)],
      ["Infected share of the lung", share],
      ["Infection", `${found.infection_ml.toFixed(1)} ml`],
      ["Lung", `${Math.round(found.lung_ml)} ml`],
    ]),
    el("button", { type: "button", id: "mask", "aria-pressed": String(desk.mask), onclick: turn }, desk.mask ? "Show the scan alone" : "Show the model's mask"),
    el("p", { class: "quiet small" }, "Filled: infection. Outline: lung. It came when every verdict of the round was sealed."),
  ];
}

function resultParts(result) {
  const settled = result.outcome === "settled";
  const moved = result.reputation_after - result.reputation_before;
  const sign = moved < 0 ? "−" : "+";
  const rating = `${whole(result.reputation_before)} → ${whole(result.reputation_after)} (${sign}${whole(Math.abs(moved))})`;
  const agreed = result.agreed === null ? "" : result.agreed ? "yes" : "no";
  return [
    el("p", { class: "quiet small" }, settled ? "The panel's verdict" : "No verdict"),
    el("p", { class: "said" }, settled ? capital(result.verdict ?? "") : "Refunded"),
    facts([
      ["Agreed", `${result.agreeing} of ${result.panel_size}`],
      ["You among them", agreed],
      ["Paid to you", money(result.paid_wei)],
      ["Reputation", rating],
    ]),
  ];
}

byId("sure").addEventListener("input", (event) => {
  desk.sure = Number(event.target.value);
  if (chosen()) renderBallot(chosen());
});

byId("ballot").addEventListener("submit", (event) => {
  event.preventDefault();
  byId("confirmtext").textContent = words(desk.choice, desk.sure);
  byId("confirm").returnValue = "no";
  byId("confirm").showModal();
});

byId("confirm").addEventListener("close", async () => {
  const one = chosen();
  if (byId("confirm").returnValue !== "yes" || !one || desk.busy) return;
  desk.busy = true;
  renderBallot(one);
  try {
    const body = { label: desk.choice, confidence: desk.choice === null ? 0 : desk.sure };
    await postJson(`/api/cases/${encodeURIComponent(one.id)}/decision`, body);
    await again();
  } catch (problem) {
    if (!(problem instanceof Refusal)) throw problem;
    trouble(problem);
  } finally {
    desk.busy = false;
    render();
  }
});

const TOOLS = {
  in: () => viewer.zoomBy(1.25),
  out: () => viewer.zoomBy(0.8),
  fit: () => viewer.fit(),
  actual: () => viewer.actual(),
  invert: () => viewer.set({ invert: !viewer.look.invert }),
  reset: () => viewer.reset(),
};
for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", TOOLS[button.dataset.do]);
for (const name of ["window", "level"]) {
  byId(name).addEventListener("input", (event) => viewer.set({ [name]: Number(event.target.value) }));
}
byId("slice").addEventListener("input", () => showSlice(chosen()));
byId("canvas").addEventListener("pointermove", (event) => {
  const spot = viewer.probe(event);
  byId("probe").textContent = spot ? `${spot.x}, ${spot.y}: ${spot.grey} · ${Math.round(viewer.scale * 100)} %` : "";
});

const KEYS = {
  "+": TOOLS.in,
  "=": TOOLS.in,
  "-": TOOLS.out,
  f: TOOLS.fit,
  a: TOOLS.actual,
  i: TOOLS.invert,
  r: TOOLS.reset,
  "[": () => viewer.set({ level: viewer.look.level + 6 }),
  "]": () => viewer.set({ level: viewer.look.level - 6 }),
  ",": () => viewer.set({ window: viewer.look.window + 10 }),
  ".": () => viewer.set({ window: viewer.look.window - 10 }),
  ArrowLeft: () => viewer.panBy(40, 0),
  ArrowRight: () => viewer.panBy(-40, 0),
  ArrowUp: () => viewer.panBy(0, 40),
  ArrowDown: () => viewer.panBy(0, -40),
  s: () => showSlice(chosen(), 1),
  w: () => showSlice(chosen(), -1),
  j: () => step(1),
  k: () => step(-1),
};

function step(by) {
  const index = desk.cases.findIndex((c) => c.id === desk.chosen);
  const next = desk.cases[Math.min(desk.cases.length - 1, Math.max(0, index + by))];
  if (next) choose(next.id);
}

document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement || byId("confirm").open;
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (/^[0-9]$/.test(key)) {
    const label = key === "0" ? null : chosen()?.labels[Number(key) - 1];
    if (label !== undefined) pick(label);
  } else if (KEYS[key]) {
    event.preventDefault();
    KEYS[key]();
  }
});
