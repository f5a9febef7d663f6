// Clips beside one another: each a player and its picture, with a line at the moment that is heard. Arrow keys ask the
// kernel for the next or previous clip, the space bar plays.

const make = (tag, name, text = "") => Object.assign(document.createElement(tag), { className: name, textContent: text });

/** One clip's player and picture; `follow` is called at each frame while the page is shown. */
function column(clip, addresses) {
  const blob = (bytes, type) => {
    const address = URL.createObjectURL(new Blob([bytes], { type }));
    addresses.push(address);
    return address;
  };
  const box = make("div", "sernb-clip"), player = make("audio", ""), frame = make("div", "sernb-frame");
  const picture = make("img", ""), head = make("div", "sernb-head");
  player.controls = true;
  player.src = blob(clip.wav, "audio/wav");
  player.setAttribute("aria-label", clip.title);
  picture.src = blob(clip.png, "image/png");
  picture.alt = clip.alt;
  picture.draggable = false;
  const place = (seconds) => clip.left + (clip.right - clip.left) * (seconds / clip.seconds);
  frame.onclick = (event) => {
    const across = event.offsetX / frame.clientWidth;
    const share = Math.min(1, Math.max(0, (across - clip.left) / (clip.right - clip.left)));
    player.currentTime = share * clip.seconds;
    player.play();
  };
  frame.append(picture, head);
  box.append(make("div", "sernb-title", clip.title), player, frame);
  const follow = () => { head.style.left = `${100 * place(Math.min(player.currentTime, clip.seconds))}%`; };
  return { box, player, follow };
}

function render({ model, el }) {
  const root = make("div", "sernb-view");
  root.tabIndex = 0;
  root.dataset.lmSuppressShortcuts = "true"; // or JupyterLab would take the arrow keys for its own
  el.append(root);
  let shown = [], addresses = [], running = true;

  const draw = () => {
    const before = addresses;
    addresses = [];
    shown = model.get("clips").map((clip) => column(clip, addresses));
    root.replaceChildren(...shown.map((one) => one.box));
    root.dataset.count = model.get("count");
    before.forEach(URL.revokeObjectURL);
  };
  const follow = () => { shown.forEach((one) => one.follow()); if (running) requestAnimationFrame(follow); };

  root.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, n: 1, ArrowLeft: -1, ArrowUp: -1, p: -1 }[event.key];
    if (step) model.send({ kind: "step", step });
    else if (event.key === " " && shown.length) shown[0].player.paused ? shown[0].player.play() : shown[0].player.pause();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  model.on("change:clips", draw);
  draw();
  follow();
  return () => { running = false; model.off("change:clips", draw); addresses.forEach(URL.revokeObjectURL); };
}

export default { render };
