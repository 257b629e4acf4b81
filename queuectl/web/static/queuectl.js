// What is live on the page: the feed of events, the panel of a job, output as it comes, the time slider and the keys.
// The page works without it. It asks only the server that it came from, and puts text into the page only as text.

const find = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const past = document.body.hasAttribute("data-past");
document.documentElement.classList.add("scripted");

// ── the feed: each event has its position, so nothing is missed and nothing counts twice ──
let position = Number(document.body.dataset.position);
let source, waiting, refreshing = false, missed = false;
window.queuectlSeen = [];

function follow() {
  source = new EventSource(`/api/events?from=${position + 1}`);
  source.onopen = () => alive(true);
  source.onerror = () => alive(false);
  source.onmessage = (message) => {
    const at = Number(message.lastEventId);
    if (at <= position) return;
    position = at;
    window.queuectlSeen.push(at);
    if (window.queuectlSeen.length > 10000) window.queuectlSeen.shift();
    changed();
  };
  source.addEventListener("caught_up", () => alive(true));
}

function alive(is) {
  const badge = find("#live");
  if (!badge) return;
  badge.textContent = is ? "● live" : "○ not connected";
  badge.classList.toggle("off", !is);
}

function changed() {
  if (document.hidden) { missed = true; return; }
  waiting ??= setTimeout(refresh, 1000);
}

async function refresh() {
  waiting = undefined;
  if (refreshing || drag) return changed();
  refreshing = true;
  try {
    await renew(location.href, document);
    const job = find("#panel #job");
    if (job) await renew(`/jobs/${encodeURIComponent(job.dataset.job)}`, find("#panel"));
  } catch { alive(false); } finally { refreshing = false; }
}

async function load(url, more = {}) {
  const answer = await fetch(url, { headers: { accept: "text/html", ...more } });
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

async function renew(url, within) {
  const fresh = await load(url, { "x-queuectl-refresh": "1" });
  if (Number(fresh.body.dataset.position) < position) changed();
  for (const part of all("[data-live]", within)) {
    const other = fresh.getElementById(part.id);
    if (!other || part.contains(document.activeElement) && document.activeElement.matches("input[type=text], textarea")) continue;
    const chosen = new Set(all("input:checked", part).map((box) => box.value));
    const open = all("details", part).map((each) => each.open);
    const focused = part.contains(document.activeElement) ? all("a, button, input, summary", part).indexOf(document.activeElement) : -1;
    part.className = other.className;
    part.replaceChildren(...other.childNodes);
    all("input[type=checkbox]", part).forEach((box) => { box.checked = chosen.has(box.value); });
    all("details", part).forEach((each, place) => { each.open = open[place] ?? false; });
    if (focused >= 0) all("a, button, input, summary", part)[focused]?.focus();
  }
  alive(source?.readyState === EventSource.OPEN);
  count();
}

if (!past && find("#live")) {
  follow();
  setInterval(() => { if (!document.hidden) changed(); }, 10000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && missed) { missed = false; changed(); } });
}

// ── output as it comes ──
let output;
function followOutput(within) {
  output?.close();
  const job = find("#job[data-follow]", within);
  if (!job) return;
  output = new EventSource(`/api/jobs/${encodeURIComponent(job.dataset.job)}/logs?follow=1`);
  let run = 0;
  output.onmessage = (message) => {
    const piece = JSON.parse(message.data);
    if (piece.run !== run) { run = piece.run; all(".output", job).forEach((pre) => { pre.textContent = ""; }); }
    const pre = find(`#${piece.stream === "stderr" ? "stderr" : "stdout"}`, job);
    const atEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 30;
    pre.append(piece.text);
    if (atEnd) pre.scrollTop = pre.scrollHeight;
  };
  output.addEventListener("ended", () => { output.close(); changed(); });
  output.onerror = () => output.close();
}
followOutput(document);
document.addEventListener("change", (event) => {
  if (event.target.id === "wrap") all(".output").forEach((pre) => pre.classList.toggle("straight", !event.target.checked));
});

// ── the panel ──
const panel = find("#panel");
const home = location.href;
async function openJob(url) {
  const fresh = await load(url);
  const job = fresh.getElementById("job");
  if (!job) { location.href = url; return; }
  const close = document.createElement("button");
  close.type = "button"; close.className = "close"; close.textContent = "Close (Esc)";
  close.addEventListener("click", closeJob);
  panel.replaceChildren(close, job);
  panel.hidden = false;
  panel.scrollTop = 0;
  history.replaceState(null, "", url);
  followOutput(panel);
  close.focus();
}
function closeJob() {
  if (panel.hidden) return;
  panel.hidden = true; panel.replaceChildren(); output?.close();
  history.replaceState(null, "", home);
}
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.job");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && matchMedia("(min-width: 1000px)").matches) {
    event.preventDefault(); openJob(link.href);
  }
  const dialog = event.target.closest("[data-dialog]");
  if (dialog) find(`#${dialog.dataset.dialog}`).showModal();
});

// ── the time slider ──
find(".time").addEventListener("submit", () => {
  const badge = find("#live, .badge-past");
  source?.close();
  badge.textContent = "reading the log …"; // an early moment of a long log takes seconds
});
const slider = find("#slider");
slider?.addEventListener("input", () => {
  const field = find(".time input[name=as_of]");
  field.value = new Date(slider.value * 1000).toISOString().slice(0, 19) + "Z";
});
slider?.addEventListener("change", () => {
  const form = slider.form;
  if (slider.value === slider.max) find("input[name=as_of]", form).value = "";
  form.requestSubmit();
});

// ── drag over the chart to zoom ──
let drag;
document.addEventListener("pointerdown", (event) => {
  const drawing = event.target.closest(".zoomable svg");
  if (drawing && event.button === 0) drag = { drawing, from: event.clientX };
});
document.addEventListener("dragstart", (event) => { if (event.target.closest(".zoomable")) event.preventDefault(); });
document.addEventListener("pointermove", (event) => {
  if (!drag || Math.abs(event.clientX - drag.from) < 6 && !drag.mark) return;
  drag.mark ??= drag.drawing.parentElement.appendChild(Object.assign(document.createElement("div"), { className: "zoom" }));
  const box = drag.drawing.parentElement.getBoundingClientRect();
  drag.mark.style.left = `${Math.min(drag.from, event.clientX) - box.left}px`;
  drag.mark.style.width = `${Math.abs(event.clientX - drag.from)}px`;
});
document.addEventListener("pointerup", (event) => {
  const { drawing, from, mark } = drag ?? {};
  drag = undefined;
  if (!mark) return;
  mark.remove();
  document.addEventListener("click", (click) => { click.preventDefault(); click.stopPropagation(); }, { capture: true, once: true });
  const box = drawing.getBoundingClientRect();
  const shown = find("#chart").dataset;
  const at = (x) => Math.round(Number(shown.from) + Math.max(0, Math.min(1, (x - box.left) / box.width)) * (shown.to - shown.from));
  const [start, end] = [at(from), at(event.clientX)].sort((a, b) => a - b);
  const url = new URL(location.href);
  url.searchParams.set("from", start);
  url.searchParams.set("to", Math.max(end, start + 1));
  location.href = url;
});

// ── selection and keys ──
let last;
function count() {
  const text = find("#chosen");
  if (!text) return;
  const number = all("#rows input:checked").length;
  const everything = find("#selection input[name=all]")?.checked;
  all("#selection .actions button").forEach((button) => { button.disabled = !number && !everything; });
  text.textContent = everything ? "all that match" : number ? `${number} selected` : "nothing selected";
}
count();
document.addEventListener("change", (event) => { if (event.target.name === "all") count(); });
document.addEventListener("click", (event) => {
  if (!event.target.matches("#rows input[type=checkbox]")) return;
  const boxes = all("#rows input[type=checkbox]");
  if (event.shiftKey && last && boxes.includes(last)) {
    const [from, to] = [boxes.indexOf(last), boxes.indexOf(event.target)].sort((a, b) => a - b);
    boxes.slice(from, to + 1).forEach((box) => { box.checked = event.target.checked; });
  }
  last = event.target;
  count();
});

function row(step) {
  const rows = all("tr[data-job]");
  const here = rows.findIndex((each) => each.classList.contains("at"));
  rows[here]?.classList.remove("at");
  const next = rows[Math.max(0, Math.min(rows.length - 1, here + step))];
  next?.classList.add("at");
  next?.scrollIntoView({ block: "nearest" });
}
const keys = {
  "/": () => find("#search").focus(),
  j: () => row(1),
  k: () => row(-1),
  x: () => find("tr.at input[type=checkbox]")?.click(),
  Enter: () => find("tr.at a.job")?.click(),
  r: () => find("#job [data-key=r]")?.click(),
  c: () => find("#job [data-key=c]")?.click(),
  e: () => find("#job [data-key=e]")?.focus(),
  "?": () => find("#help").showModal(),
  Escape: closeJob,
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input:not([type=checkbox]):not([type=range]), textarea, select");
  if (typing && event.key !== "Escape") return;
  if (event.key === "Enter" && event.target.matches("a, button, summary, input")) return;
  if (keys[event.key]) { if (event.key !== "Escape") event.preventDefault(); keys[event.key](); }
});
