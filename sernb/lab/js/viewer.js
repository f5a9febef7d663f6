// Clips side by side: each a player and its figure, with a line at the moment that is being played. Arrow keys ask the
// kernel for the next or previous clip, the space bar plays.

const element = (tag, name, text = "") => Object.assign(document.createElement(tag), { className: name, textContent: text });

/** Stop loading what the columns show, then revoke the URLs: the browser reports a URL that is revoked too early. */
function release(columns, urls) {
  for (const { box, player } of columns) {
    box.querySelectorAll("audio, img").forEach((view) => view.removeAttribute("src"));
    player.load();
  }
  urls.forEach(URL.revokeObjectURL);
}

/** Return one clip's player and figure; `follow` is called at each frame while the page is visible. */
function clipColumn(clip, urls) {
  const blob = (bytes, type) => {
    const url = URL.createObjectURL(new Blob([bytes], { type }));
    urls.push(url);
    return url;
  };
  const box = element("div", "sernb-clip"), player = element("audio", ""), frame = element("div", "sernb-frame");
  const figure = element("img", ""), cursor = element("div", "sernb-head");
  player.controls = true;
  player.src = blob(clip.wav, "audio/wav");
  player.setAttribute("aria-label", clip.title);
  figure.src = blob(clip.png, "image/png");
  figure.alt = clip.alt;
  figure.draggable = false;
  const position = (seconds) => clip.left + (clip.right - clip.left) * (seconds / clip.seconds);
  frame.onclick = (event) => {
    const clicked = event.offsetX / frame.clientWidth;
    const fraction = Math.min(1, Math.max(0, (clicked - clip.left) / (clip.right - clip.left)));
    player.currentTime = fraction * clip.seconds;
    player.play();
  };
  frame.append(figure, cursor);
  if (clip.part) {
    const shade = element("div", "sernb-part"), [start, end] = clip.part.map(position);
    Object.assign(shade.style, { left: `${100 * start}%`, width: `${100 * (end - start)}%` });
    frame.append(shade);
  }
  box.append(element("div", "sernb-title", clip.title), player, frame);
  const follow = () => { cursor.style.left = `${100 * position(Math.min(player.currentTime, clip.seconds))}%`; };
  return { box, player, follow };
}

function render({ model, el }) {
  const root = element("div", "sernb-view");
  root.tabIndex = 0;
  root.dataset.lmSuppressShortcuts = "true"; // or JupyterLab would handle the arrow keys itself
  el.append(root);
  let columns = [], urls = [], running = true;

  const draw = () => {
    const previous = [columns, urls];
    urls = [];
    columns = model.get("clips").map((clip) => clipColumn(clip, urls));
    root.replaceChildren(...columns.map((column) => column.box));
    root.dataset.count = model.get("count");
    release(...previous);
  };
  const follow = () => { columns.forEach((column) => column.follow()); if (running) requestAnimationFrame(follow); };

  root.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, n: 1, ArrowLeft: -1, ArrowUp: -1, p: -1 }[event.key];
    if (step) model.send({ kind: "step", step });
    else if (event.key === " " && columns.length) columns[0].player.paused ? columns[0].player.play() : columns[0].player.pause();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  model.on("change:clips", draw);
  draw();
  follow();
  return () => { running = false; model.off("change:clips", draw); release(columns, urls); };
}

export default { render };
