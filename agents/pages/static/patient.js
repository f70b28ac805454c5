// The patient's page: hand in a scan, watch the case, open the report.

import { Refusal, follow, postFile } from "./api.js";
import { byId, capital, el, facts, money, shortId, whole } from "./dom.js";

const PAUSE = 1500;
const STATES = { running: ["running", "wait"], settled: ["settled", "good"], refunded: ["refunded", ""], failed: ["failed", "wait"] };
let before = "";

const again = follow("/api/desk", PAUSE, show, trouble);

function trouble(refusal) {
  const line = byId("trouble");
  line.hidden = !refusal;
  line.textContent = refusal ? capital(refusal.message) : "";
}

function show({ status, phases, cases }) {
  trouble(null);
  const { name, wallet, balance_wei: balance, peers, chain, notice } = status;
  byId("who").replaceChildren(el("b", {}, name), " ", el("code", { class: "quiet", title: wallet }, shortId(wallet)));
  const parts = [["Balance", money(balance)], ["Peers", whole(peers)]];
  const items = parts.map(([term, value]) => el("span", {}, `${term} `, el("b", { class: "num" }, value)));
  byId("standing").replaceChildren(...items, el("span", {}, chain));
  byId("notice").textContent = notice;
  const now = JSON.stringify(cases);
  if (now === before) return;
  before = now;
  byId("nocases").hidden = cases.length > 0;
  byId("cases").replaceChildren(...cases.map((one) => el("li", { class: "card" }, ...card(one, phases))));
}

function card(one, phases) {
  const [word, kind] = STATES[one.state] ?? [one.state, ""];
  const came = new Date(one.started_at * 1000).toLocaleString();
  const over = one.state === "settled" || one.state === "refunded";
  return [
    el("div", { class: "head" }, el("b", {}, one.name), el("span", { class: "quiet small" }, came), el("span", { class: `chip ${kind}` }, word)),
    over && el("p", { class: "diagnosis" }, one.diagnosis ? capital(one.diagnosis) : "No diagnosis"),
    one.state === "running" && strip(one, phases),
    el("p", { class: over ? "quiet" : "" }, one.text),
    over && facts([["The model", one.certainty], ["The panel", one.agreement], ["Cost", one.cost_wei && money(one.cost_wei)]]),
    one.report && el("a", { class: "report", href: one.report, target: "_blank", rel: "noopener" }, "Open the report"),
  ].filter(Boolean);
}

function strip(one, phases) {
  const at = phases.indexOf(one.phase);
  const bars = phases.map((phase, index) => el("li", { title: phase, class: index < at ? "done" : index === at ? "now" : "" }));
  return el("ol", { class: "strip", role: "img", "aria-label": `Step ${at + 1} of ${phases.length}: ${one.phase}` }, bars);
}

async function send(file) {
  if (!file) return;
  byId("sending").textContent = `Handing in ${file.name} …`;
  try {
    await postFile("/image", file);
    byId("sending").textContent = `${file.name} is handed in.`;
    await again();
  } catch (problem) {
    if (!(problem instanceof Refusal)) throw problem;
    byId("sending").textContent = capital(problem.message);
  } finally {
    byId("file").value = "";
  }
}

const drop = byId("drop");
byId("file").addEventListener("change", (event) => send(event.target.files[0]));
for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", over);
    if (name === "drop") send(event.dataTransfer.files[0]);
  });
}
