// Looks again at a page whose #live says how often (ms), and puts what is new in its place.
"use strict";
(() => {
  const button = document.getElementById("pause");
  const state = document.getElementById("live-state");
  let timer = 0;
  let isPaused = false;
  let isLooking = false;

  const live = () => document.getElementById("live");
  const every = () => Number(live().dataset.live || 0);

  function plan() {
    clearTimeout(timer);
    button.hidden = !every();
    if (!every()) state.textContent = "";
    if (every() && !isPaused && !document.hidden) timer = setTimeout(look, every());
  }

  function keepPlace(change) {
    // what has the focus, or is unfolded, is so afterwards too
    const held = document.activeElement;
    const links = () => [...live().querySelectorAll("a, [tabindex], summary, button, input")];
    const place = links().indexOf(held);
    const open = [...live().querySelectorAll("details")].map((one) => one.open);
    const across = [...live().querySelectorAll(".scroll")].map((one) => one.scrollLeft);
    change();
    live().querySelectorAll("details").forEach((one, n) => { one.open = open[n] || false; });
    live().querySelectorAll(".scroll").forEach((one, n) => { one.scrollLeft = across[n] || 0; });
    if (place >= 0) links()[place]?.focus({ preventScroll: true });
  }

  async function look() {
    if (isLooking) return;
    isLooking = true;
    try {
      const answer = await fetch(location.href, { redirect: "manual", cache: "no-store" });
      if (answer.type === "opaqueredirect") {
        state.textContent = "Not live any more: log in again by loading the page.";
        button.hidden = true;
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      // what has ended stays as it is: somebody may be writing a reason there
      if (every()) keepPlace(() => live().replaceWith(page.getElementById("live")));
      state.textContent = isPaused ? "Paused." : "";
    } catch (error) {
      state.textContent = "The console does not answer; what you see may be old.";
    } finally {
      isLooking = false;
    }
    plan();
  }

  button.addEventListener("click", () => {
    isPaused = !isPaused;
    button.setAttribute("aria-pressed", String(isPaused));
    state.textContent = isPaused ? "Paused: what you see does not change." : "";
    plan();
  });
  document.addEventListener("visibilitychange", plan);
  plan();
})();
