// A button below each table of results downloads the table as CSV; it works from a folder, without a server.
function tableToCsv(table) {
  const quote = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const rows = [...table.rows].map((row) => [...row.cells].map((cell) => quote(cell.innerText.trim())).join(","));
  return rows.join("\n").replaceAll("\u2212", "-") + "\n";
}

function addDownload(table, number) {
  const page = location.pathname.split("/").pop().replace(/\.html$/, "") || "index";
  const link = document.createElement("a");
  link.className = "table-download";
  link.textContent = "CSV";
  link.href = "#";
  link.setAttribute("aria-label", `Download table ${number + 1} of this page as CSV`);
  link.addEventListener("click", () => {
    link.download = `${page}-table-${number + 1}.csv`;
    link.href = URL.createObjectURL(new Blob([tableToCsv(table)], { type: "text/csv" }));
  });
  table.insertAdjacentElement("afterend", link);
}

document.addEventListener("DOMContentLoaded", () =>
  document.querySelectorAll("article table.dataframe").forEach(addDownload),
);
