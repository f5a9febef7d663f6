// A table whose cells can be corrected by hand: text, or a choice where the column has choices. The kernel gets the row's
// index, the column and the new value.

const make = (tag, name, text = "") => Object.assign(document.createElement(tag), { className: name, textContent: text });

function editor(column, value, change) {
  const field = make(column.choices ? "select" : "input", "");
  for (const choice of column.choices ?? []) field.append(new Option(choice, choice));
  field.value = value;
  field.setAttribute("aria-label", column.name);
  field.onchange = () => change(field.value);
  return field;
}

function render({ model, el }) {
  const root = make("div", "sernb-table");
  root.dataset.lmSuppressShortcuts = "true";
  el.append(root);

  const cell = (row, index, column) => {
    const td = make("td", "");
    if (column.editable && !row.locked) {
      td.append(editor(column, row[column.name], (value) => model.send({ kind: "edit", index, column: column.name, value })));
    } else {
      td.textContent = row[column.name];
      td.title = row[column.name];
    }
    return td;
  };
  const draw = () => {
    const columns = model.get("columns");
    const table = make("table", ""), head = make("tr", ""), body = make("tbody", "");
    head.append(...columns.map((column) => make("th", "", column.name)));
    model.get("rows").forEach((row, index) => {
      const line = make("tr", row.mark);
      line.append(...columns.map((column) => cell(row, index, column)));
      body.append(line);
    });
    const top = make("thead", "");
    top.append(head);
    table.append(top, body);
    root.hidden = !body.children.length;
    const scrolled = root.scrollTop;
    root.replaceChildren(table);
    root.scrollTop = scrolled;
  };
  model.on("change:rows", draw);
  draw();
  return () => model.off("change:rows", draw);
}

export default { render };
