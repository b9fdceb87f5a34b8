// Draws what /api/v1/board and /api/v1/history say, again and again. Values from the cluster are only ever set as text.

import { chart } from "./chart.js";

const POLL_MS = 2000;
const SHORTEST_S = 120;
const SECONDS = { "1h": 3600, "24h": 86400, "7d": 604800 };
const THEMES = ["auto", "light", "dark"];
const STATES = { active: "running", waiting: "waiting for a lock", idle: "idle", idle_in_transaction: "idle in a transaction", unknown: "unknown" };
const get = (id) => document.getElementById(id);

let selected = null;
let series = [];
let board = null;
let lost = null;

function make(name, { text, className, ...attributes } = {}, ...children) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];
function bytes(count) {
  if (count === null || count === undefined) return "–";
  let unit = 0;
  while (count >= 1000 && unit < UNITS.length - 1) [count, unit] = [count / 1000, unit + 1];
  return `${count < 10 && unit ? count.toFixed(1) : Math.round(count)} ${UNITS[unit]}`;
}

function age(seconds) {
  if (seconds === null || seconds === undefined) return "never";
  const steps = [[86400, "d"], [3600, "h"], [60, "min"]];
  for (const [length, word] of steps) if (seconds >= 2 * length) return `${Math.floor(seconds / length)} ${word}`;
  return `${Math.max(0, Math.round(seconds))} s`;
}

const rounded = (value) => (value < 10 ? Number(value.toFixed(1)) : Math.round(value)).toString();
const seconds = (moment) => Date.parse(moment) / 1000;
const now = () => seconds(board.at);

function bar(count, limit, strain) {
  const fill = make("i");
  fill.style.width = `${Math.min(100, (100 * count) / Math.max(1, limit))}%`;
  return make("span", { className: `bar ${{ calm: "good", near: "near", full: "bad" }[strain]}` }, fill);
}

function points(service, name) {
  const found = series.find((one) => (one.service ?? null) === service && one.series === name);
  return found ? found.points : [];
}

/** From when on charts are drawn: of the range that was chosen, what is known. */
function from() {
  const range = SECONDS[document.querySelector("input[name=range]:checked").value];
  const first = Math.min(now() - SHORTEST_S, ...series.filter((one) => one.points.length).map((one) => one.points[0][0]));
  return Math.max(now() - range, first);
}

function drawing(service, name, label, show, limit, small) {
  return chart(points(service, name), { label, from: from(), to: now(), limit, show, small });
}

function clock(at) {
  const date = new Date(at * 1000);
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: now() - at < 600 ? "2-digit" : undefined });
  return now() - at < 86400 ? time : `${date.toLocaleDateString()} ${time}`;
}

function figure(service, name, label, show, limit) {
  const all = points(service, name);
  const last = all[all.length - 1];
  const told = last ? `${show(last[1])}${limit ? ` of ${limit}` : ""}` : "nothing was seen";
  return make("figure", {}, make("figcaption", {}, make("span", { text: label }), make("span", { text: told })), drawing(service, name, label, show, limit, false),
    make("div", { className: "axis" }, make("span", { text: clock(from()) }), make("span", { text: clock(now()) })));
}

function tiles(target, facts) {
  target.replaceChildren(...facts.filter(Boolean).map(([name, value]) => make("div", {}, make("dt", { text: name }), make("dd", { text: value }))));
}

/** A sentence in which commands stand between backticks. */
function sentence(text) {
  return text.split("`").map((piece, index) => (index % 2 ? make("code", { text: piece }) : piece));
}

function drawAlerts() {
  // The same of several services is said once.
  const groups = new Map();
  for (const alert of board.alerts) {
    const key = JSON.stringify([alert.severity, alert.text, alert.hint]);
    groups.set(key, [...(groups.get(key) ?? []), alert]);
  }
  const items = [...groups.values()].map((alerts) => {
    const names = alerts.map((alert) => alert.service).filter(Boolean).join(", ");
    const [{ severity, text, hint }] = alerts;
    return make("li", { className: severity }, make("strong", { text: names ? `${names}: ` : "" }), ...sentence(text), make("p", {}, ...sentence(hint)));
  });
  get("alerts").replaceChildren(...(items.length ? items : [make("li", { className: "good", text: "Nothing." })]));
}

function drawServer() {
  const server = board.server;
  get("server").classList.toggle("stale", !board.freshness.server.is_fresh);
  if (!server) return tiles(get("server"), [["PostgreSQL", "not seen yet"]]);
  tiles(get("server"), [
    ["PostgreSQL", `${server.version.split(" ")[0]}${server.is_standby ? ", standby" : ""}`],
    ["Runs for", age(server.uptime_s)],
    ["Connections", `${server.connections} of ${server.usable_connections}`],
    ["max_connections", String(server.max_connections)],
    ["In no service's database", String(board.other_connections)],
  ]);
  const charts = [figure(null, "connections", "Connections", rounded, server.usable_connections)];
  if (points(null, "behind").length) charts.push(figure(null, "behind", "Seconds that the last standby is behind", rounded));
  get("server-charts").replaceChildren(...charts);
}

function row(service) {
  const open = make("button", { className: "row-button", type: "button", text: service.service, "aria-expanded": String(selected === service.service), "aria-controls": "detail" });
  open.addEventListener("click", () => select(selected === service.service ? null : service.service));
  const cell = (label, className, ...children) => make("td", { "data-label": label, className: className || "" }, make("span", {}, ...children));
  const waiting = service.pools.reduce((sum, pool) => sum + pool.clients_waiting, 0);
  const clients = service.pools.reduce((sum, pool) => sum + pool.clients_active, 0);
  const limit = service.connection_limit;
  const backup = service.backup && service.backup.proved ? `${age(now() - seconds(service.backup.proved))} old` : service.backup ? "none" : "–";
  const line = make("tr", { "data-service": service.service },
    make("th", { scope: "row" }, open),
    cell("State", service.state === "ready" ? "good" : service.state ? "bad" : "soft", service.state ?? "–"),
    cell("Connections", "", board.server ? `${service.connections}${limit ? ` of ${limit}` : ""}` : "–", ...(limit ? [bar(service.connections, limit, service.strain)] : [])),
    cell("In the pools", waiting ? "near" : "", service.pools.length ? `${clients} clients${waiting ? `, ${waiting} wait` : ""}` : "–"),
    cell("Transactions", "", service.rates ? `${rounded(service.rates.commits + service.rates.rollbacks)}/s` : "–"),
    cell("Size", "", bytes(service.bytes)),
    cell("Proved backup", backup === "none" ? "near" : "", backup),
    make("td", { "data-label": "Connections before" }, drawing(service.service, "connections", `Connections of ${service.service}`, rounded, limit, true)));
  if (selected === service.service) line.setAttribute("aria-current", "true");
  return line;
}

function drawServices() {
  // Whoever is on a button by keyboard stays there.
  const focused = document.activeElement?.closest?.("tr[data-service]")?.dataset.service;
  get("rows").replaceChildren(...board.services.map(row));
  get("services").querySelector("table").classList.toggle("stale", !board.freshness.server.is_fresh);
  if (focused) get("rows").querySelector(`tr[data-service="${CSS.escape(focused)}"] button`)?.focus();
}

function drawDetail() {
  const service = board.services.find((one) => one.service === selected);
  get("detail").hidden = !service;
  if (!service) return;
  get("detail-title").textContent = `${service.service}, database ${service.database}`;
  const sessions = Object.entries(service.sessions).filter(([, count]) => count > 0).map(([state, count]) => `${count} ${STATES[state] ?? state}`);
  tiles(get("detail-facts"), [
    ["Sessions", sessions.join(", ") || "none"],
    ...service.logins.map((login) => [`Login ${login.role}`, `${login.connections}${login.connection_limit === null ? "" : ` of ${login.connection_limit}`}`]),
    ["Its pools together", `${service.pool_connections} at most`],
    ...service.pools.map((pool) => [`Pool ${pool.user} in ${pool.pooler}`,
      `${pool.servers_active + pool.servers_idle} connections${pool.size === null ? "" : ` of ${pool.size}`}, ${pool.clients_waiting} clients wait${pool.clients_waiting ? ` (${pool.longest_wait_ms} ms)` : ""}`]),
    ["Oldest transaction", service.oldest_transaction_s === null ? "none" : age(service.oldest_transaction_s)],
    service.rates && ["Rows written", `${rounded(service.rates.rows_written)}/s`],
    service.rates && service.rates.hit_ratio !== null && ["Blocks found in memory", `${(100 * service.rates.hit_ratio).toFixed(1)} %`],
    ["Deadlocks", String(service.counters.deadlocks)],
    ["Since the oldest was frozen", `${rounded(service.frozen_age / 1e6)} million transactions`],
    service.backup && ["Newest backup", service.backup.newest ? `${age(now() - seconds(service.backup.newest))} old` : "none"],
    service.backup && service.backup.recovered && ["Proved that it can be brought back to a time", `${age(now() - seconds(service.backup.recovered))} ago`],
  ]);
  const name = service.service;
  get("detail-charts").replaceChildren(
    figure(name, "connections", "Connections", rounded, service.connection_limit),
    figure(name, "active", "Of these run a statement", rounded),
    figure(name, "waiting", "Clients that wait in a pool", rounded),
    figure(name, "transactions", "Transactions a second", rounded),
    figure(name, "bytes", "Size", bytes));
}

function drawMore() {
  const items = [
    ...board.receivers.map((one) => make("li", { text: `${one.name} receives the log (${one.state}, ${one.sync_state}) and is ${bytes(one.behind_bytes)}${one.behind_ms ? `, ${age(one.behind_ms / 1000)}` : ""} behind` })),
    ...board.slots.map((slot) => make("li", { className: slot.is_lost ? "error" : "", text: slot.is_lost ? `Replication slot ${slot.name} is lost` : `Replication slot ${slot.name} keeps ${bytes(slot.kept_bytes)} of log${slot.is_active ? "" : ", and nobody reads from it"}` })),
    ...board.leaks.map((leak) => make("li", { className: "warning", text: leak })),
    ...board.drift.map((drift) => make("li", { className: "warning", text: drift })),
  ];
  if (!board.leaks.length && !board.drift.length && board.freshness.standing.is_fresh) items.push(make("li", { className: "good", text: "By the catalogs, every service is alone in its database, and the cluster is as the file says." }));
  get("more").classList.toggle("stale", !board.freshness.standing.is_fresh);
  get("more").replaceChildren(...items);
}

function drawState() {
  const state = get("state");
  const server = board?.freshness.server;
  const say = (className, text) => [state.className, state.textContent] = [`badge ${className}`, text];
  if (lost) say("bad", `pgisle serve does not answer since ${lost.toLocaleTimeString()}; what you see is old`);
  else if (!board) say("soft", "nothing was looked at yet");
  else if (!server.is_fresh) say("bad", `PostgreSQL cannot be seen${server.age_s === null ? "" : `; what you see is ${age(server.age_s)} old`}`);
  else if (board.alerts.some((alert) => alert.severity === "error")) say("bad", "something is wrong");
  else if (board.alerts.length) say("near", "something should be looked at");
  else say("good", "all is well");
  document.body.classList.toggle("stale", Boolean(lost));
  if (!board) return;
  get("project").textContent = `${board.project}, ${board.environment}`;
  document.title = `${state.className.includes("good") ? "" : "! "}pgisle ${board.project}`;
  const parts = Object.entries(board.freshness).map(([part, freshness]) => `${part} ${freshness.seen ? `${age(freshness.age_s)} ago` : "never"}${freshness.is_fresh ? "" : " (old)"}`);
  get("ages").textContent = `Seen: ${parts.join(", ")}.`;
}

function draw() {
  if (board) [drawAlerts, drawServer, drawServices, drawDetail, drawMore].forEach((one) => one());
  drawState();
}

function select(service) {
  selected = service;
  location.hash = service ? `service=${encodeURIComponent(service)}` : "";
  draw();
  if (service) get("detail-title").focus();
}

async function fetched(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(10000) });
  if (response.status === 503) return null;
  if (!response.ok) throw new Error(response.statusText);
  return response.json();
}

async function poll() {
  try {
    const range = document.querySelector("input[name=range]:checked").value;
    const [whole, history] = await Promise.all([fetched("/api/v1/board"), fetched(`/api/v1/history?range=${range}`)]);
    if (whole) [board, series] = [whole.board, history ? history.series : []];
    lost = null;
  } catch {
    lost ??= new Date();
  }
  draw();
}

function theme(wanted) {
  if (wanted === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = wanted;
  get("theme").textContent = `Colours: ${wanted}`;
  try { localStorage.setItem("theme", wanted); } catch { /* It is forgotten then. */ }
}

let chosen = "auto";
try { chosen = localStorage.getItem("theme") ?? "auto"; } catch { /* The usual one. */ }
theme(THEMES.includes(chosen) ? chosen : "auto");
get("theme").addEventListener("click", () => theme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % THEMES.length]));
get("range").addEventListener("change", poll);
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && selected) select(null); });
selected = new URLSearchParams(location.hash.slice(1)).get("service");
(async () => { for (;;) { await poll(); await new Promise((done) => setTimeout(done, POLL_MS)); } })();
