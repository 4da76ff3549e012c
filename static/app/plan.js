// Rows of the plan's feature table. Everything else on that page is drawn by the server.
(() => {
  const form = () => document.getElementById("plan-form");
  const changed = () => form().dispatchEvent(new Event("change", { bubbles: true }));
  // A closed section must not hide what is wrong in it.
  document.addEventListener("htmx:after:swap", () => {
    for (const field of document.querySelectorAll("details:not([open]) .is-invalid")) field.closest("details").open = true;
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-add-feature]")) {
      const row = document.getElementById("feature-template").content.cloneNode(true);
      document.getElementById("features").append(row);
      document.querySelector("#features tr:last-child input").focus();
    }
    const remove = event.target.closest("[data-remove-feature]");
    if (remove) { remove.closest("tr").remove(); changed(); }
  });
})();
