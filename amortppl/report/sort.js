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

document.querySelectorAll("input.find").forEach(field => {
  const table = field.closest("p").nextElementSibling.querySelector("table");
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase();
    for (const row of table.tBodies[0].rows)
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
});
document.querySelectorAll("select[data-shows]").forEach(list => {
  const parts = [...list.closest(".choice").children].filter(part => part.dataset.part);
  const show = () => parts.forEach(part => { part.hidden = part.dataset.part !== list.value; });
  list.addEventListener("change", show);
  show();
});
