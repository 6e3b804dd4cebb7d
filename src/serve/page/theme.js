// Runs before the first paint, so that a chosen theme does not flash. Without a choice the system's holds.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("cairn.theme");
  } catch {
    // A browser may forbid storage; the system's theme is shown then.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
