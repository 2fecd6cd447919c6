// Sets a chosen colour scheme before the first paint. A classic script for that reason: a module would run after it.
"use strict";
try {
  const chosen = localStorage.getItem("unipic-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden; then the system's preference holds.
}
