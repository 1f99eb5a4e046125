// Sorts a table by the column whose heading is clicked; once more turns it round.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const up = head.getAttribute("aria-sort") === "descending";
    const value = (row) => row.cells[head.cellIndex].dataset.value ?? "";
    const numbers = [...body.rows].every((row) => value(row) === "" || !isNaN(value(row)));
    const order = (a, b) => numbers ? value(a) - value(b) : value(a).localeCompare(value(b));
    // What is empty stays last, whichever way.
    const rows = [...body.rows].sort((a, b) =>
      (value(a) === "") - (value(b) === "") || (up ? order(a, b) : order(b, a)));
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...rows);
  });
}
