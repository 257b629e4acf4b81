// What is live on the page: the feed of events, the panel of a job, output as it comes, the time slider and the keys.
// The page works without it. It asks only the server that it came from, and puts text into the page only as text.

const find = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const panel = find("#panel");
const home = location.href;
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
    await renew(home, all("[data-live]").filter((part) => !panel.contains(part)));
    const job = find("#job", panel);
    if (job) await renew(`/jobs/${encodeURIComponent(job.dataset.job)}`, all("[data-live]", panel));
  } catch { alive(false); } finally { refreshing = false; }
}

async function load(url, more = {}) {
  const answer = await fetch(url, { headers: { accept: "text/html", ...more } });
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

async function renew(url, parts) {
  const fresh = await load(url, { "x-queuectl-refresh": "1" });
  if (Number(fresh.body.dataset.position) < position) changed();
  for (const part of parts) {
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

const reading = find("#reading");
if (!past && !reading && find("#live")) {
  follow();
  setInterval(() => { if (!document.hidden) changed(); }, 10000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && missed) { missed = false; changed(); } });
}

// ── an early moment of a long log takes seconds: how much of it has been read ──
async function readOn() {
  const fresh = await load(location.href).catch(() => undefined);
  const percent = fresh?.getElementById("percent");
  if (fresh && !percent) return location.reload();
  if (percent) {
    find("#share").value = parseInt(percent.textContent, 10);
    find("#percent").textContent = percent.textContent;
  }
  setTimeout(readOn, fresh ? 100 : 2000);
}
if (reading) {
  find("#live").textContent = "○ reading";
  readOn();
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
  const elsewhere = find("main #job") && !panel.contains(link); // the page of a job leads to that of another one
  if (link && !elsewhere && !event.ctrlKey && !event.metaKey && !event.shiftKey && matchMedia("(min-width: 1000px)").matches) {
    event.preventDefault(); openJob(link.href);
  }
  const dialog = event.target.closest("[data-dialog]");
  if (dialog) find(`#${dialog.dataset.dialog}`).showModal();
});

// ── copying a command ──
async function copy(button) {
  const line = button.previousElementSibling.textContent;
  const done = await navigator.clipboard?.writeText(line).then(() => true, () => false) || copyWithoutPermission(line, button);
  find("#said").textContent = "";
  setTimeout(() => { find("#said").textContent = done ? `copied ${line}` : "not copied: select the text instead"; }, 50);
  if (!done) return getSelection().selectAllChildren(button.previousElementSibling);
  button.dataset.copied = "";
  setTimeout(() => { delete button.dataset.copied; }, 2000);
}
function copyWithoutPermission(line, button) { // a page without TLS has no clipboard of its own
  const field = Object.assign(document.createElement("textarea"), { value: line, className: "unseen", readOnly: true });
  button.after(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  button.focus();
  return done;
}
document.addEventListener("click", (event) => {
  const button = event.target.closest(".copy");
  if (button) copy(button);
});

// ── the time slider ──
find(".time").addEventListener("submit", () => {
  const badge = find("#live, .badge-past");
  source?.close();
  badge.textContent = "reading the log …";
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
  const ignore = (click) => { click.preventDefault(); click.stopPropagation(); };
  document.addEventListener("click", ignore, { capture: true, once: true });
  setTimeout(() => document.removeEventListener("click", ignore, { capture: true }));
  const box = drawing.getBoundingClientRect();
  const shown = find("#chart").dataset;
  const at = (x) => Math.round(Number(shown.from) + Math.max(0, Math.min(1, (x - box.left) / box.width)) * (shown.to - shown.from));
  const [start, end] = [at(from), at(event.clientX)].sort((a, b) => a - b);
  const url = new URL(location.href);
  url.searchParams.set("from", start);
  url.searchParams.set("to", Math.max(end, start + 1));
  location.href = url;
});

// ── the last word of a filter is completed ──
const hints = all("#hints option").map((option) => option.value);
document.addEventListener("input", (event) => {
  if (event.target.getAttribute("list") !== "hints") return;
  const before = event.target.value.replace(/\S*$/, "");
  all("#hints option").forEach((option, place) => { option.value = before + hints[place]; });
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
document.addEventListener("keydown", (event) => { // Enter in a field is not the first button, which retries
  if (event.key !== "Enter" || !event.target.matches("#selection fieldset input:not([type=checkbox])")) return;
  event.preventDefault();
  event.target.closest(".changes")?.querySelector("button").click();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input:not([type=checkbox]):not([type=range]), textarea, select");
  if (typing && event.key !== "Escape") return;
  if (event.key === "Enter" && event.target.matches("a, button, summary, input")) return;
  if (keys[event.key]) { if (event.key !== "Escape") event.preventDefault(); keys[event.key](); }
});
