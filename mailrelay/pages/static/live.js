// What moves on a page; without it every page can be read and every form sent.
"use strict";

function ago(seconds) {
  const distance = Math.abs(seconds);
  if (distance < 5) return "now";
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
    if (distance >= size) {
      const text = Math.floor(distance / size) + " " + unit;
      return seconds > 0 ? text + " ago" : "in " + text;
    }
  }
}

function retell() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    time.textContent = ago((Date.now() - Date.parse(time.dateTime)) / 1000);
  }
}

// The same page is fetched again, and what is in the live element put in its place; what is
// chosen stays chosen.
async function refresh(live) {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) return location.reload();
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById(live.getAttribute("id")); // a field of a form may be called id
  if (!fresh) return;
  document.title = page.title;
  for (const [at, tabs] of document.querySelectorAll(".bar .tabs").entries()) {
    const told = page.querySelectorAll(".bar .tabs")[at];
    if (told && !tabs.contains(document.activeElement)) tabs.replaceChildren(...told.childNodes);
  }
  const known = new Set(), chosen = new Set();
  for (const box of live.querySelectorAll("input[type=checkbox][name=id]")) {
    known.add(box.value);
    if (box.checked) chosen.add(box.value);
  }
  for (const box of fresh.querySelectorAll("input[type=checkbox][name=id]")) {
    box.checked = chosen.has(box.value);
    if (known.size && !known.has(box.value)) box.closest("tr").classList.add("fresh");
  }
  const focus = document.activeElement, name = live.contains(focus) ? focus.value : null;
  live.replaceChildren(...fresh.childNodes);
  if (name) live.querySelector("[value='" + CSS.escape(name) + "']")?.focus();
  return fresh;
}

// Every so many seconds, until the page says so no more.
function repeat(live) {
  const timer = setInterval(async () => {
    if (document.hidden) return;
    const fresh = await refresh(live);
    if (fresh && !fresh.dataset.every) clearInterval(timer);
  }, 1000 * live.dataset.every);
}

function listen(live) {
  const events = new EventSource(live.dataset.live);
  let waits = null;
  events.addEventListener("arrived", () => {
    if (!waits) waits = setTimeout(() => { waits = null; refresh(live); }, 300);
  });
  const lost = document.querySelector("[data-lost]");
  events.addEventListener("open", () => { if (lost) lost.hidden = true; });
  events.addEventListener("error", () => { if (lost) lost.hidden = false; });
  addEventListener("pagehide", () => events.close());
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== "checkbox") return;
  const named = document.querySelector("[data-key='" + CSS.escape(event.key) + "']");
  if (named) {
    event.preventDefault();
    named.matches("a") ? named.click() : named.focus();
    return;
  }
  if (event.key !== "j" && event.key !== "k") return;
  const links = [...document.querySelectorAll(".list tbody a[href]")];
  const at = links.indexOf(document.activeElement);
  const next = links[event.key === "j" ? at + 1 : Math.max(0, at - 1)];
  if (next) next.focus();
}

setInterval(retell, 15000);
document.addEventListener("keydown", keys);
for (const live of document.querySelectorAll("[data-live]")) listen(live);
for (const live of document.querySelectorAll("[data-every]")) repeat(live);
for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", (event) => {
    const ask = event.submitter?.dataset.ask;
    if (ask && !confirm(ask)) event.preventDefault();
  });
}
document.querySelector("[data-frame]")?.click();
const here = document.querySelector(".menu [aria-current]"), menu = here?.closest(".menu");
if (menu) menu.scrollLeft = here.offsetLeft - (menu.clientWidth - here.offsetWidth) / 2;
