// The microphone: level meter, countdown, take, retake, keep. Samples stay in this tab until "Keep" sends them to the
// kernel; nothing else leaves the page. The kernel's answers reach every tab, so each take has an id.

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
const PART_SAMPLES = 1 << 18; // per message: half a megabyte, well below the limit of a Jupyter server
const FULL_SCALE = 0.999;
const METER_MIN = -60; // dB, the meter's left end
const LABEL_NAMES = ["folder", "speaker", "emotion", "statement", "sex", "condition"];

const element = (tag, name, text = "") => Object.assign(document.createElement(tag), { className: name, textContent: text });
const decibel = (amplitude) => 20 * Math.log10(Math.max(amplitude, 1e-5));
const newId = () => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
const peakOf = (block) => block.reduce((peak, value) => Math.max(peak, Math.abs(value)), 0);

/** Open the microphone without the processing for telephone calls, which would change the voice. */
async function openMicrophone(onBlock) {
  const unprocessed = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: unprocessed });
  const [track] = stream.getAudioTracks();
  const rate = track.getSettings().sampleRate;
  const context = new AudioContext(rate ? { sampleRate: rate } : {});
  const url = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
  await context.audioWorklet.addModule(url);
  URL.revokeObjectURL(url);
  const tap = new AudioWorkletNode(context, "sernb-tap", { numberOfOutputs: 0 });
  context.createMediaStreamSource(stream).connect(tap);
  tap.port.onmessage = (event) => onBlock(event.data);
  await context.resume();
  const close = () => {
    tap.port.onmessage = null;
    stream.getTracks().forEach((audioTrack) => audioTrack.stop());
    return context.close();
  };
  return { rate: context.sampleRate, label: track.label, close };
}

/** Convert float samples to 16-bit samples. */
function toInt16(blocks) {
  const out = new Int16Array(blocks.reduce((sum, block) => sum + block.length, 0));
  let position = 0;
  for (const block of blocks) {
    for (const value of block) out[position++] = Math.max(-32768, Math.min(32767, Math.round(value * 32768)));
  }
  return out;
}

/** Return a WAV file of 16-bit mono samples, for listening to the take. */
function encodeWav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44));
  const text = (offset, word) => [...word].forEach((letter, i) => view.setUint8(offset + i, letter.charCodeAt(0)));
  const bytes = samples.length * 2;
  text(0, "RIFF"); view.setUint32(4, 36 + bytes, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, rate * 2, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, bytes, true);
  return new Blob([view, samples], { type: "audio/wav" });
}

function render({ model, el }) {
  const root = element("div", "sernb-mic");
  const prompt = element("div", "sernb-prompt");
  const meter = element("div", "sernb-meter"), bar = element("div", "sernb-bar"), mark = element("div", "sernb-mark");
  const reading = element("span", "sernb-reading"), warning = element("span", "sernb-warning");
  const power = element("button", "sernb-power", "Turn the microphone on");
  const record = element("button", "sernb-record", "Record"), stop = element("button", "sernb-stop", "Stop");
  const player = element("audio", "sernb-take");
  const keep = element("button", "sernb-keep", "Keep"), discard = element("button", "sernb-discard", "Discard");
  const clock = element("span", "sernb-clock"), status = element("div", "sernb-status");
  player.controls = true;
  status.setAttribute("role", "status");
  meter.append(bar, mark);
  const line = (...parts) => { const div = element("div", "sernb-line"); div.append(...parts); return div; };
  root.append(prompt, line(power, meter, reading, warning), line(record, stop, clock, player, keep, discard), status);
  el.append(root);

  let mic = null, state = "off", blocks = [], take = null, takeLabels = null, clipped = 0, peakHold = METER_MIN;
  let countdown = 0, timeout = 0, invitation = "";
  const unanswered = new Set(); // ids of this tab's takes
  const currentLabels = () => Object.fromEntries(LABEL_NAMES.map((name) => [name, model.get(name)]));

  const show = (next = state) => {
    state = next;
    const ready = model.get("ready"), on = mic !== null;
    power.textContent = on ? "Turn the microphone off" : "Turn the microphone on";
    record.textContent = take ? "Retake" : "Record";
    record.hidden = !["ready", "taken"].includes(state);
    record.disabled = !ready;
    stop.hidden = !["countdown", "recording"].includes(state);
    player.hidden = keep.hidden = discard.hidden = state !== "taken" && state !== "sending";
    keep.disabled = discard.disabled = state === "sending";
    power.disabled = ["countdown", "recording", "sending"].includes(state);
    if (!["countdown", "recording"].includes(state)) clock.textContent = "";
    // While a take is recorded or waits: its own labels, whatever has been chosen in the meantime, here or elsewhere.
    const isWaiting = ["taken", "sending"].includes(state) && take;
    const labels = state === "recording" ? takeLabels : isWaiting ? take.labels : currentLabels();
    const parts = [["i", labels.speaker], ["b", labels.emotion], ["span", labels.statement]];
    prompt.replaceChildren(...parts.map(([tag, text]) => element(tag, "", text)));
    root.dataset.state = state;
  };
  const report = (text, bad = false) => { status.textContent = text; status.classList.toggle("sernb-bad", bad); };
  const invite = () => { invitation = model.get("ready") ? "" : model.get("why"); report(invitation); };

  const measure = (block) => {
    const peak = peakOf(block), now = decibel(peak);
    peakHold = Math.max(now, peakHold - 0.6);
    bar.style.width = `${Math.max(0, 100 * (1 - now / METER_MIN))}%`;
    mark.style.left = `${Math.max(0, Math.min(99, 100 * (1 - peakHold / METER_MIN)))}%`;
    reading.textContent = `${Math.round(peakHold)} dB`;
    meter.classList.toggle("sernb-hot", peakHold > -6);
    if (peak >= FULL_SCALE) {
      warning.textContent = "clipping: turn the input down, or step back";
      clearTimeout(warning.timeout);
      warning.timeout = setTimeout(() => { warning.textContent = ""; }, 2500);
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
    if (left <= 0) { blocks = []; clipped = 0; takeLabels = currentLabels(); show("recording"); return; }
    clock.textContent = `${left} ...`;
    countdown = setTimeout(() => count(left - 1), 1000);
  };

  const forget = () => {
    if (!take) return;
    player.removeAttribute("src");
    player.load(); // stop loading the take before its URL is revoked
    URL.revokeObjectURL(take.url);
    take = null;
  };

  const finish = () => {
    clearTimeout(countdown);
    if (state === "countdown" || !blocks.length) { show(take ? "taken" : "ready"); return; }
    forget();
    const samples = toInt16(blocks), url = URL.createObjectURL(encodeWav(samples, mic.rate));
    take = { id: newId(), labels: takeLabels, samples, rate: mic.rate, url };
    player.src = take.url;
    const loud = clipped ? `${clipped} samples are clipped: record it again. ` : "";
    report(`${(samples.length / mic.rate).toFixed(1)} s at ${mic.rate} Hz. ${loud}Listen, then keep it or retake.`, clipped > 0);
    show("taken");
  };

  const send = () => {
    const { id, labels, samples, rate } = take, parts = Math.max(1, Math.ceil(samples.length / PART_SAMPLES));
    show("sending");
    report("Sending the take to the kernel ...");
    unanswered.add(id);
    clearTimeout(timeout);
    const late = () => giveUp("The kernel does not answer; it may be busy, or have stopped");
    timeout = setTimeout(late, 1000 * model.get("patience"));
    try {
      for (let i = 0; i < parts; i++) {
        const part = samples.slice(i * PART_SAMPLES, (i + 1) * PART_SAMPLES);
        model.send({ kind: "part", take: id, part: i, parts, rate, labels }, undefined, [part.buffer]);
      }
    } catch (error) { giveUp(`Not sent: ${error.message}`); }
  };

  const giveUp = (why) => {
    clearTimeout(timeout);
    report(`${why}. The take is still here: “Keep” sends it again, and it is saved only once.`, true);
    show("taken");
  };

  const answer = (message) => {
    if (!unanswered.has(message.take)) return; // another tab's take, or one that was answered already
    if (message.kind === "saved") unanswered.delete(message.take);
    if (message.take !== take?.id) { report(`The previous take: ${message.text}`, message.kind === "failed"); return; }
    const isShown = ["taken", "sending"].includes(state); // or a retake is under way, as the answer came late
    clearTimeout(timeout);
    if (message.kind === "saved") { forget(); report(message.text, false); if (isShown) show(mic ? "ready" : "off"); }
    if (message.kind === "failed") { report(message.text, true); if (isShown) show("taken"); } // the take is still here
  };

  const togglePower = async () => {
    if (mic) { await mic.close(); mic = null; bar.style.width = 0; reading.textContent = ""; show(take ? "taken" : "off"); return; }
    try {
      mic = await openMicrophone(measure);
      reading.title = mic.label;
      invite();
      const device = `${mic.label || "Microphone"}, ${mic.rate} Hz.`;
      if (model.get("ready")) report(`${device} Watch the level: the loudest emotion should peak between -20 and -6 dB.`);
      show(take ? "taken" : "ready");
    } catch (error) {
      report(`No microphone: ${error.message}. Allow it for this page in the browser's address bar; for a page ` +
        "of another machine, a browser allows it only with https.", true);
    }
  };

  power.onclick = togglePower;
  record.onclick = () => {
    if (!mic) { togglePower(); return; }
    player.pause();
    show("countdown");
    count(model.get("countdown"));
  };
  stop.onclick = finish;
  keep.onclick = send;
  discard.onclick = () => { forget(); invite(); show(mic ? "ready" : "off"); };
  const refresh = () => {
    show();
    const isAnswered = model.get("ready") && invitation && status.textContent === invitation;
    if (isAnswered || (!model.get("ready") && state !== "taken")) invite();
  };
  const watched = "change:ready change:why change:speaker change:emotion change:statement";
  model.on(watched, refresh);
  model.on("msg:custom", answer);
  show();
  invite();
  return () => {
    clearTimeout(countdown);
    clearTimeout(timeout);
    model.off(watched, refresh);
    model.off("msg:custom", answer);
    forget();
    if (mic) mic.close();
  };
}

export default { render };
