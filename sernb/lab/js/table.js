// A table whose cells can be edited: as text, or as a choice if the column has choices. The kernel gets the row's
// index, the column and the new value.

const element = (tag, name, text = "") => Object.assign(document.createElement(tag), { className: name, textContent: text });

function editor(column, value, change) {
  const field = element(column.choices ? "select" : "input", "");
  for (const choice of column.choices ?? []) field.append(new Option(choice, choice));
  field.value = field.shownValue = value;
  field.setAttribute("aria-label", column.name);
  field.onchange = () => { field.shownValue = field.value; change(field.value); };
  field.onblur = () => { if (field.value !== field.shownValue) field.onchange(); }; // typed before a redraw
  return field;
}

/** Show another value in a field, unless the user is typing into it. */
function setValue(field, value) {
  const typing = field === document.activeElement && field.value !== field.shownValue;
  field.shownValue = value;
  if (!typing && field.value !== value) field.value = value;
}

function render({ model, el }) {
  const root = element("div", "sernb-table");
  root.dataset.lmSuppressShortcuts = "true";
  el.append(root);
  let drawnShape = ""; // the columns and the number of rows
  const body = () => root.querySelector("tbody");

  const fill = (td, row, index, column) => {
    const isOpen = Boolean(column.editable && !row.locked), field = td.firstElementChild, value = row[column.name];
    if (isOpen && field) setValue(field, value);
    else if (isOpen) {
      const change = (text) => model.send({ kind: "edit", index, column: column.name, value: text });
      td.removeAttribute("title");
      td.replaceChildren(editor(column, value, change));
    } else if (field || td.textContent !== value) {
      td.textContent = value;
      td.title = value;
    }
  };
  const build = (columns, rows) => {
    const table = element("table", ""), head = element("tr", ""), top = element("thead", ""), lines = element("tbody", "");
    head.append(...columns.map((column) => element("th", "", column.name)));
    for (const _ of rows) {
      const line = element("tr", "");
      line.append(...columns.map(() => element("td", "")));
      lines.append(line);
    }
    top.append(head);
    table.append(top, lines);
    root.hidden = !rows.length;
    const scrolled = root.scrollTop;
    root.replaceChildren(table);
    root.scrollTop = scrolled;
  };
  /** Return the field that has the keyboard focus, with its row and its column's name. */
  const focused = () => {
    const field = root.contains(document.activeElement) ? document.activeElement : null, line = field?.closest("tr");
    return line ? { field, row: line.rowIndex - 1, name: field.getAttribute("aria-label") } : null;
  };
  const refocus = ({ field, row, name }) => {
    const target = body().rows[row]?.querySelector(`[aria-label="${name}"]`);
    if (!target || target === field) return;
    target.focus({ preventScroll: true });
    if (field.value !== field.shownValue) target.value = field.value;
  };
  // Cells are changed in place, so that the keyboard focus stays where it is.
  const draw = () => {
    const columns = model.get("columns"), rows = model.get("rows"), before = focused();
    const shape = JSON.stringify([columns, rows.length]);
    if (shape !== drawnShape) {
      if (before) before.field.onchange = before.field.onblur = null; // its removal is not an edit
      build(columns, rows);
    }
    drawnShape = shape;
    rows.forEach((row, index) => {
      const line = body().rows[index];
      line.className = row.mark ?? "";
      columns.forEach((column, i) => fill(line.cells[i], row, index, column));
    });
    if (before) refocus(before);
  };
  model.on("change:rows", draw);
  draw();
  return () => model.off("change:rows", draw);
}

export default { render };
