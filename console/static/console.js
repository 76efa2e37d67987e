// What pages do beside htmx: a form is sent once, and what has changed is fetched again.
"use strict";

// A second click sends nothing. The key in the form makes it harmless anyhow; this spares the question.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.hasAttribute("data-once")) return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
  form.setAttribute("aria-busy", "true");
});

// Back shows the page as it was left: it may be sent again, with the same key.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    form.removeAttribute("aria-busy");
  }
});

// What is under way tells nobody that it has moved on: while it is, its page is fetched again.
const AGAIN_MILLISECONDS = 1000;
setInterval(() => {
  if (document.hidden || !document.querySelector("[data-again]")) return;
  document.getElementById("region").dispatchEvent(new Event("defter-changed"));
}, AGAIN_MILLISECONDS);

const problem = document.getElementById("problem");
if (problem) problem.focus();

const print = document.querySelector("[data-print]");
if (print) {
  print.hidden = false;
  print.addEventListener("click", () => window.print());
}

const live = document.querySelector("[data-live]");
if (live) {
  const state = live.querySelector(".live-state");
  const control = live.querySelector(".live-switch");
  let address = live.dataset.live;
  let source = null;
  let paused = false;

  const say = (text) => {
    if (state.textContent !== text) state.textContent = text;
  };

  // On a changed page whoever decides is told; what they have typed stays.
  const changed = (topic, event) => {
    const subjects = JSON.parse(event.data);
    const region = document.getElementById("region");
    if (!region || !region.dataset.topics.split(" ").includes(topic)) return;
    const subject = region.dataset.subject;
    if (subject && !subjects.includes(subject) && !subjects.includes("*")) return;
    region.dispatchEvent(new Event("defter-changed"));
    const stale = document.querySelector("[data-stale]");
    if (stale && subjects.includes(subject)) stale.textContent = stale.dataset.text;
  };

  const open = () => {
    if (source || paused || document.hidden) return;
    source = new EventSource(address);
    source.addEventListener("open", () => say(live.dataset.on));
    source.addEventListener("error", () => {
      say(live.dataset.off);
      if (source && source.readyState === EventSource.CLOSED) source = null;
    });
    const region = document.getElementById("region");
    for (const topic of region ? region.dataset.topics.split(" ") : []) {
      source.addEventListener(topic, (event) => {
        // Whoever opens it anew goes on behind what was heard last.
        const next = new URL(address, location.href);
        next.searchParams.set("after", event.lastEventId);
        address = next.pathname + next.search;
        changed(topic, event);
      });
    }
  };

  const close = () => {
    if (source) source.close();
    source = null;
  };

  control.hidden = false;
  control.addEventListener("click", () => {
    paused = !paused;
    control.textContent = paused ? control.dataset.resume : control.dataset.pause;
    control.setAttribute("aria-pressed", String(paused));
    close();
    if (paused) say(live.dataset.paused);
    else open();
  });
  // A page that nobody looks at costs nothing; when it is looked at again it hears what it has missed.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);
  open();
}
