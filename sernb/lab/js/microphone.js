// The microphone: level meter, countdown, take, retake, keep. Samples stay in this tab until "Keep" sends them to the
// kernel; nothing else leaves the page. What the kernel answers reaches every tab, so each take has an id.

const WORKLET = `
registerProcessor("sernb-tap", class extends AudioWorkletProcessor {
  constructor() { super(); this.block = new Float32Array(2048); this.filled = 0; }
  process([channels]) {
    if (!channels.length) return true;
    for (let i = 0; i < channels[0].length; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.block[this.filled++] = sum / channels.length;
      if (this.filled === this.block.length) { this.port.postMessage(this.block.slice()); this.filled = 0; }
    }
    return true;
  }
});`;
const PART = 1 << 18; // samples in a message: half a megabyte, well below what a Jupyter server takes
const FULL_SCALE = 0.999;
const FLOOR = -60; // dB, the meter's left end
const LABELS = ["folder", "speaker", "emotion", "statement", "sex", "condition"];

const make = (tag, name, text = "") => Object.assign(document.createElement(tag), { className: name, textContent: text });
const decibel = (amplitude) => 20 * Math.log10(Math.max(amplitude, 1e-5));
const newId = () => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
const peakOf = (block) => block.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/** Open the microphone as it is: what browsers do for telephone calls would change the voice. */
async function open(onBlock) {
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
  const [track] = stream.getAudioTracks();
  const rate = track.getSettings().sampleRate;
  const context = new AudioContext(rate ? { sampleRate: rate } : {});
  const address = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
  await context.audioWorklet.addModule(address);
  URL.revokeObjectURL(address);
  const tap = new AudioWorkletNode(context, "sernb-tap", { numberOfOutputs: 0 });
  context.createMediaStreamSource(stream).connect(tap);
  tap.port.onmessage = (event) => onBlock(event.data);
  await context.resume();
  const close = () => { tap.port.onmessage = null; stream.getTracks().forEach((one) => one.stop()); return context.close(); };
  return { rate: context.sampleRate, label: track.label, close };
}

/** Float samples as 16-bit ones. */
function pcm(blocks) {
  const out = new Int16Array(blocks.reduce((sum, block) => sum + block.length, 0));
  let place = 0;
  for (const block of blocks) {
    for (const value of block) out[place++] = Math.max(-32768, Math.min(32767, Math.round(value * 32768)));
  }
  return out;
}

/** A WAV file of 16-bit mono samples, for listening to the take. */
function wav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44));
  const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  const bytes = samples.length * 2;
  text(0, "RIFF"); view.setUint32(4, 36 + bytes, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, rate * 2, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, bytes, true);
  return new Blob([view, samples], { type: "audio/wav" });
}

function render({ model, el }) {
  const root = make("div", "sernb-mic");
  const prompt = make("div", "sernb-prompt");
  const meter = make("div", "sernb-meter"), bar = make("div", "sernb-bar"), mark = make("div", "sernb-mark");
  const reading = make("span", "sernb-reading"), warning = make("span", "sernb-warning");
  const power = make("button", "sernb-power", "Turn the microphone on");
  const record = make("button", "sernb-record", "Record"), stop = make("button", "sernb-stop", "Stop");
  const player = make("audio", "sernb-take");
  const keep = make("button", "sernb-keep", "Keep"), drop = make("button", "sernb-drop", "Throw away");
  const clock = make("span", "sernb-clock"), status = make("div", "sernb-status");
  player.controls = true;
  status.setAttribute("role", "status");
  meter.append(bar, mark);
  const line = (...parts) => { const div = make("div", "sernb-line"); div.append(...parts); return div; };
  root.append(prompt, line(power, meter, reading, warning), line(record, stop, clock, player, keep, drop), status);
  el.append(root);

  let mic = null, state = "off", blocks = [], take = null, said = null, clipped = 0, held = FLOOR, timer = 0, waiting = 0;
  const unanswered = new Set(); // ids of this tab's takes
  const labels = () => Object.fromEntries(LABELS.map((name) => [name, model.get(name)]));

  const show = (next = state) => {
    state = next;
    const ready = model.get("ready"), on = mic !== null;
    power.textContent = on ? "Turn it off" : "Turn the microphone on";
    record.textContent = take ? "Retake" : "Record";
    record.hidden = !["ready", "taken"].includes(state);
    record.disabled = !ready;
    stop.hidden = !["countdown", "recording"].includes(state);
    player.hidden = keep.hidden = drop.hidden = state !== "taken" && state !== "sending";
    keep.disabled = drop.disabled = state === "sending";
    power.disabled = ["countdown", "recording", "sending"].includes(state);
    if (!["countdown", "recording"].includes(state)) clock.textContent = "";
    // While a take is recorded or waits, what it is labelled as, whatever has been chosen meanwhile, here or elsewhere.
    const now = state === "recording" ? said : ["taken", "sending"].includes(state) && take ? take.said : labels();
    prompt.replaceChildren(make("i", "", now.speaker), make("b", "", now.emotion), make("span", "", now.statement));
    root.dataset.state = state;
  };
  const say = (text, bad = false) => { status.textContent = text; status.classList.toggle("sernb-bad", bad); };
  const invite = () => say(model.get("ready") ? "" : model.get("why"));

  const hear = (block) => {
    const peak = peakOf(block), now = decibel(peak);
    held = Math.max(now, held - 0.6);
    bar.style.width = `${Math.max(0, 100 * (1 - now / FLOOR))}%`;
    mark.style.left = `${Math.max(0, Math.min(99, 100 * (1 - held / FLOOR)))}%`;
    reading.textContent = `${Math.round(held)} dB`;
    meter.classList.toggle("sernb-hot", held > -6);
    if (peak >= FULL_SCALE) {
      warning.textContent = "clipping: step back, or turn the input down";
      clearTimeout(warning.timer);
      warning.timer = setTimeout(() => { warning.textContent = ""; }, 2500);
    }
    if (state !== "recording") return;
    blocks.push(block);
    clipped += block.reduce((sum, value) => sum + (Math.abs(value) >= FULL_SCALE), 0);
    const seconds = blocks.length * block.length / mic.rate;
    clock.textContent = `${seconds.toFixed(1)} s`;
    if (seconds >= model.get("max_seconds")) finish();
  };

  const count = (left) => {
    if (!model.get("ready")) { show(take ? "taken" : "ready"); invite(); return; } // another tab chose a new speaker
    if (left <= 0) { blocks = []; clipped = 0; said = labels(); show("recording"); return; }
    clock.textContent = `${left} ...`;
    timer = setTimeout(() => count(left - 1), 1000);
  };

  const forget = () => { if (take) URL.revokeObjectURL(take.address); take = null; player.removeAttribute("src"); };

  const finish = () => {
    clearTimeout(timer);
    if (state === "countdown" || !blocks.length) { show(take ? "taken" : "ready"); return; }
    forget();
    const samples = pcm(blocks);
    take = { id: newId(), said, samples, rate: mic.rate, address: URL.createObjectURL(wav(samples, mic.rate)) };
    player.src = take.address;
    const loud = clipped ? `${clipped} samples clipped: better take it again. ` : "";
    say(`${(samples.length / mic.rate).toFixed(1)} s at ${mic.rate} Hz. ${loud}Listen, then keep it or retake.`, clipped > 0);
    show("taken");
  };

  const send = () => {
    const { id, said, samples, rate } = take, parts = Math.max(1, Math.ceil(samples.length / PART));
    show("sending");
    say("Sending the take to the kernel ...");
    unanswered.add(id);
    clearTimeout(waiting);
    const late = () => giveUp("The kernel does not answer; it may be busy, or gone");
    waiting = setTimeout(late, 1000 * model.get("patience"));
    try {
      for (let i = 0; i < parts; i++) {
        const part = samples.slice(i * PART, (i + 1) * PART);
        model.send({ kind: "part", take: id, part: i, parts, rate, said }, undefined, [part.buffer]);
      }
    } catch (error) { giveUp(`Not sent: ${error.message}`); }
  };

  const giveUp = (why) => {
    clearTimeout(waiting);
    say(`${why}. The take is still here: “Keep” sends it again, and it is kept only once.`, true);
    show("taken");
  };

  const answer = (message) => {
    if (!unanswered.has(message.take)) return; // another tab's take, or one that was answered already
    if (message.kind === "kept") unanswered.delete(message.take);
    if (message.take !== take?.id) { say(`The take before: ${message.text}`, message.kind === "failed"); return; }
    const here = ["taken", "sending"].includes(state); // or a retake is under way, because the answer came so late
    clearTimeout(waiting);
    if (message.kind === "kept") { forget(); say(message.text, false); if (here) show(mic ? "ready" : "off"); }
    if (message.kind === "failed") { say(message.text, true); if (here) show("taken"); } // the take is still here
  };

  const switchPower = async () => {
    if (mic) { await mic.close(); mic = null; bar.style.width = 0; reading.textContent = ""; show(take ? "taken" : "off"); return; }
    try {
      mic = await open(hear);
      reading.title = mic.label;
      invite();
      if (model.get("ready")) say(`${mic.label || "Microphone"}, ${mic.rate} Hz. Speak, and watch the level: peaks between -20 and -6 dB.`);
      show(take ? "taken" : "ready");
    } catch (error) {
      say(`No microphone: ${error.message}. Allow it for this page in the browser's address bar; away from this ` +
        "machine a browser gives it to https pages only.", true);
    }
  };

  power.onclick = switchPower;
  record.onclick = () => {
    if (!mic) { switchPower(); return; }
    player.pause();
    show("countdown");
    count(model.get("countdown"));
  };
  stop.onclick = finish;
  keep.onclick = send;
  drop.onclick = () => { forget(); invite(); show(mic ? "ready" : "off"); };
  const refresh = () => { show(); if (!model.get("ready") && state !== "taken") invite(); };
  const watched = "change:ready change:why change:speaker change:emotion change:statement";
  model.on(watched, refresh);
  model.on("msg:custom", answer);
  show();
  invite();
  return () => {
    clearTimeout(timer);
    clearTimeout(waiting);
    model.off(watched, refresh);
    model.off("msg:custom", answer);
    forget();
    if (mic) mic.close();
  };
}

export default { render };
