// Opens a DAG's form in Airflow's own page around this frame. Airflow's frame allows no link to lead out of it, but the
// page around is of the same origin: form.js, put there, tells its router where to go and presses "Trigger".
"use strict";

for (const link of document.querySelectorAll("a[data-form]")) {
  link.addEventListener("click", (event) => {
    const around = window.parent;
    if (around === window) { return; }
    event.preventDefault();
    const script = around.document.createElement("script");
    script.src = new URL("form.js", document.querySelector("script[src$='/console.js']").src).href;
    script.dataset.path = link.getAttribute("href");
    around.document.head.append(script);
  });
}
