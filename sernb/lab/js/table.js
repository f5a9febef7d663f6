// A table whose cells can be corrected by hand: text, or a choice where the column has choices. The kernel gets the row's
// index, the column and the new value.

const make = (tag, name, text = "") => Object.assign(document.createElement(tag), { className: name, textContent: text });

function editor(column, value, change) {
  const field = make(column.choices ? "select" : "input", "");
  for (const choice of column.choices ?? []) field.append(new Option(choice, choice));
  field.value = field.drawn = value;
  field.setAttribute("aria-label", column.name);
  field.onchange = () => { field.drawn = field.value; change(field.value); };
  field.onblur = () => { if (field.value !== field.drawn) field.onchange(); }; // what was typed before a redraw
  return field;
}

/** Show another value in a field, unless somebody is typing into it. */
function put(field, value) {
  const typing = field === document.activeElement && field.value !== field.drawn;
  field.drawn = value;
  if (!typing && field.value !== value) field.value = value;
}

function render({ model, el }) {
  const root = make("div", "sernb-table");
  root.dataset.lmSuppressShortcuts = "true";
  el.append(root);
  let drawn = ""; // the columns, and how many rows
  const body = () => root.querySelector("tbody");

  const fill = (td, row, index, column) => {
    const open = Boolean(column.editable && !row.locked), field = td.firstElementChild, value = row[column.name];
    if (open && field) put(field, value);
    else if (open) {
      const change = (text) => model.send({ kind: "edit", index, column: column.name, value: text });
      td.removeAttribute("title");
      td.replaceChildren(editor(column, value, change));
    } else if (field || td.textContent !== value) {
      td.textContent = value;
      td.title = value;
    }
  };
  const build = (columns, rows) => {
    const table = make("table", ""), head = make("tr", ""), top = make("thead", ""), lines = make("tbody", "");
    head.append(...columns.map((column) => make("th", "", column.name)));
    for (const _ of rows) {
      const line = make("tr", "");
      line.append(...columns.map(() => make("td", "")));
      lines.append(line);
    }
    top.append(head);
    table.append(top, lines);
    root.hidden = !rows.length;
    const scrolled = root.scrollTop;
    root.replaceChildren(table);
    root.scrollTop = scrolled;
  };
  /** The field that has the keyboard, by its row and its column's name. */
  const focused = () => {
    const field = root.contains(document.activeElement) ? document.activeElement : null, line = field?.closest("tr");
    return line ? { field, row: line.rowIndex - 1, name: field.getAttribute("aria-label") } : null;
  };
  const refocus = ({ field, row, name }) => {
    const again = body().rows[row]?.querySelector(`[aria-label="${name}"]`);
    if (!again || again === field) return;
    again.focus({ preventScroll: true });
    if (field.value !== field.drawn) again.value = field.value;
  };
  // Cells are changed in place: whoever walks through them by keyboard stays where he or she is.
  const draw = () => {
    const columns = model.get("columns"), rows = model.get("rows"), before = focused();
    const shape = JSON.stringify([columns, rows.length]);
    if (shape !== drawn) {
      if (before) before.field.onchange = before.field.onblur = null; // its going is no edit
      build(columns, rows);
    }
    drawn = shape;
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
