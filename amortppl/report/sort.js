document.querySelectorAll("table.sortable").forEach(table => {
  const value = (row, i) => {
    const cell = row.cells[i], key = cell.dataset.value;
    return key === undefined ? cell.textContent : +key;
  };
  const sortBy = (button, i) => {
    const head = button.closest("th"), down = head.getAttribute("aria-sort") === "ascending";
    table.querySelectorAll("thead th").forEach(h => h.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const order = (a, b) => {
      const [x, y] = [value(a, i), value(b, i)];
      return (x > y) - (x < y);
    };
    const rows = [...table.tBodies[0].rows].sort((a, b) => down ? order(b, a) : order(a, b));
    table.tBodies[0].append(...rows);
  };
  table.querySelectorAll("th button").forEach((button, i) => {
    button.addEventListener("click", () => sortBy(button, i));
  });
});
document.querySelectorAll("a[data-opens]").forEach(link => link.addEventListener("click", event => {
  const part = document.getElementById(link.dataset.opens);
  event.preventDefault();
  part.open = true;
  part.scrollIntoView();
  part.querySelector("summary").focus();
}));
