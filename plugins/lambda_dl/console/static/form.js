// Runs in Airflow's page: goes to a DAG and opens its trigger form.
"use strict";
{
  const path = document.currentScript.dataset.path;
  document.currentScript.remove();
  const deadline = Date.now() + 15000;
  const press = () => {
    const button = document.querySelector('[data-testid="trigger-dag-button"]');
    if (button && window.location.pathname === path) { button.click(); }
    else if (Date.now() < deadline) { window.setTimeout(press, 100); }
  };
  window.history.pushState({}, "", path);
  window.dispatchEvent(new PopStateEvent("popstate"));
  press();
}
