// The hand of the annotator: draws what Python says and tells Python what mouse and keys do. Where a point may stand is Python's
// business (widgets.Draft, widgets.AnnotationSession); here is only the view: zoom, hit test, drawing.

const GRAB_PX = 14; // a press this near (on the screen) takes the point
const CLICK_PX = 4; // a press that moves less is a click
const INK = { end: "#E69F00", middle: "#56B4E9", lateral: "#F0E442", guide: "#56B4E9", chosen: "#FFFFFF" };
const KEYS = {
  n: "next", p: "previous", u: "undo", r: "redo", c: "contrast", Enter: "enter",
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const BUTTONS = [
  ["previous", "◀ Previous", "Previous picture (p)"], ["next", "Next ▶", "Accept, save, next picture (n)"],
  ["undo", "Undo", "Undo (u)"], ["redo", "Redo", "Redo (r)"],
  ["zoom-in", "Zoom +", "Zoom in (+)"], ["zoom-out", "Zoom −", "Zoom out (-)"], ["fit", "Fit", "Whole picture (0)"],
  ["contrast", "Contrast", "Local contrast on or off (c)"],
];

function element(name, attributes, parent) {
  const node = document.createElement(name);
  Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
  return parent.appendChild(node);
}

function render({ model, el }) {
  // Lumino (JupyterLab) must not read our keys as its own: "c" would copy the cell
  const box = element("div", { class: "lt-annotator", "data-lm-suppress-shortcuts": "true" }, el);
  const bar = element("div", { class: "lt-bar", role: "toolbar", "aria-label": "Annotator" }, box);
  const side = Math.max(360, Math.min(model.get("side"), Math.round(0.7 * window.innerHeight))); // all of it is in sight on a small screen
  const status = element("div", { class: "lt-status", role: "status", "aria-live": "polite" }, box); // above the picture: what to do comes first
  const canvas = element("canvas", { class: "lt-canvas", tabindex: "0", role: "application", "aria-label": model.get("help") }, box);
  element("div", { class: "lt-help" }, box).textContent = model.get("help");
  const ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.height = Math.round(side * ratio);
  canvas.style.width = canvas.style.height = `${side}px`;
  box.style.maxWidth = `${side}px`;

  const image = new Image();
  let url = null, fit = 1, view = { scale: 1, x: 0, y: 0 }; // (x, y): the file's coordinates, edges at 0, in the canvas' corner
  let press = null, waiting = null, inFlight = false;
  let tabbed = null; // where the last Tab went: a fast hand does not wait for Python's answer

  const toScreen = ([x, y]) => [(x + 0.5 - view.x) * view.scale, (y + 0.5 - view.y) * view.scale];
  const toFile = ([x, y]) => [x / view.scale + view.x - 0.5, y / view.scale + view.y - 0.5];
  const place = (event) => {
    const frame = canvas.getBoundingClientRect();
    return [((event.clientX - frame.left) * side) / frame.width, ((event.clientY - frame.top) * side) / frame.height];
  };

  function whole() {
    const longest = Math.max(image.naturalWidth, image.naturalHeight) || 1;
    fit = side / (1.06 * longest); // a margin: a landmark may lie outside its picture
    view = { scale: fit, x: (image.naturalWidth - side / fit) / 2, y: (image.naturalHeight - side / fit) / 2 };
    draw();
  }
  function zoom(factor, [x, y]) {
    const scale = Math.min(Math.max(view.scale * factor, fit), 40 * fit);
    view = { scale, x: view.x + x / view.scale - x / scale, y: view.y + y / view.scale - y / scale };
    draw();
  }

  function draw() {
    const ink = canvas.getContext("2d");
    ink.setTransform(ratio, 0, 0, ratio, 0, 0);
    ink.fillStyle = "#222222";
    ink.fillRect(0, 0, side, side);
    ink.imageSmoothingEnabled = view.scale < 6; // far in, pixels are seen as pixels
    if (image.naturalWidth) {
      const [left, top] = toScreen([-0.5, -0.5]);
      ink.drawImage(image, left, top, image.naturalWidth * view.scale, image.naturalHeight * view.scale);
    }
    const line = (a, b, colour, dashes) => {
      for (const [width, stroke] of [[3, "rgba(0,0,0,.55)"], [1.5, colour]]) {
        ink.beginPath();
        ink.setLineDash(dashes);
        ink.moveTo(...toScreen(a));
        ink.lineTo(...toScreen(b));
        ink.lineWidth = width;
        ink.strokeStyle = stroke;
        ink.stroke();
      }
      ink.setLineDash([]);
    };
    const points = model.get("points"), chosen = model.get("chosen"), kinds = model.get("kinds");
    model.get("guides").forEach(([a, b]) => line(a, b, INK.guide, [5, 5]));
    if (points.length > 1) line(points[0], points[1], INK.end, []);
    ink.font = "bold 13px sans-serif";
    ink.textBaseline = "middle";
    points.forEach((point, index) => {
      const [x, y] = toScreen(point), kind = kinds[index], radius = kind === "middle" ? 3.5 : 6;
      ink.beginPath();
      if (kind === "end") ink.rect(x - radius, y - radius, 2 * radius, 2 * radius); // told apart by form as well as by colour
      else ink.arc(x, y, radius, 0, 2 * Math.PI);
      ink.fillStyle = INK[kind];
      ink.fill();
      ink.lineWidth = index === chosen ? 3 : 1.5;
      ink.strokeStyle = index === chosen ? INK.chosen : "black";
      ink.stroke();
      if (index === chosen) {
        for (const [width, stroke] of [[6, "black"], [3, INK.chosen]]) { // seen on bone and on air
          ink.beginPath();
          ink.arc(x, y, radius + 6, 0, 2 * Math.PI);
          ink.lineWidth = width;
          ink.strokeStyle = stroke;
          ink.stroke();
        }
      }
      ink.lineWidth = 3;
      ink.strokeStyle = "black";
      ink.fillStyle = "white";
      const label = `L${index + 1}`, shift = x > side - 48 ? -34 : 14;
      ink.strokeText(label, x + shift, y - 12);
      ink.fillText(label, x + shift, y - 12);
    });
  }

  // One message on its way at a time: a slow kernel then skips places in between instead of lagging behind the hand.
  function send(message) {
    if (message.do === "drag" && inFlight) return void (waiting = message);
    if (message.do !== "drag" && waiting) { model.send(waiting); waiting = null; }
    inFlight = true;
    model.send(message);
  }
  model.on("change:answered", () => {
    inFlight = false;
    if (waiting) { const next = waiting; waiting = null; send(next); }
  });

  function near(spot) {
    let best = -1, distance = GRAB_PX;
    model.get("points").forEach((point, index) => {
      if (model.get("kinds")[index] === "middle") return; // these follow the axis
      const [x, y] = toScreen(point), gap = Math.hypot(x - spot[0], y - spot[1]);
      if (gap < distance) [best, distance] = [index, gap];
    });
    return best;
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    tabbed = null;
    const spot = place(event), index = event.button === 0 ? near(spot) : -1;
    press = { spot, index, from: { ...view }, moved: false };
    if (index >= 0) {
      const [x, y] = toScreen(model.get("points")[index]);
      press.hold = [x - spot[0], y - spot[1]]; // a point keeps its distance from the hand: taking it does not move it
      send({ do: "grab", index });
    }
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!press) return void (canvas.style.cursor = near(place(event)) >= 0 ? "grab" : "crosshair");
    const spot = place(event);
    press.moved ||= Math.hypot(spot[0] - press.spot[0], spot[1] - press.spot[1]) >= CLICK_PX;
    if (press.index >= 0) {
      const [x, y] = toFile([spot[0] + press.hold[0], spot[1] + press.hold[1]]);
      send({ do: "drag", index: press.index, x, y });
    } else if (press.moved) {
      view = { ...press.from, x: press.from.x - (spot[0] - press.spot[0]) / view.scale, y: press.from.y - (spot[1] - press.spot[1]) / view.scale };
      draw();
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    if (press && press.index < 0 && !press.moved && event.button === 0) {
      const [x, y] = toFile(place(event));
      send({ do: "click", x, y });
    } else if (press && press.index >= 0) {
      send({ do: "drop" });
    }
    press = null;
  });
  canvas.addEventListener("pointercancel", () => { press = null; });
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas) return; // the page scrolls until the canvas has been clicked
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 300), place(event));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const points = model.get("points"), chosen = event.key === "Tab" ? tabbed ?? model.get("chosen") : -1, middle = [side / 2, side / 2];
    if (event.key !== "Shift") tabbed = null;
    if (event.key === "Tab") { // through the points, then on: no keyboard trap
      const order = points.map((_, index) => index).filter((index) => model.get("kinds")[index] !== "middle");
      const next = order[order.indexOf(chosen) + (event.shiftKey ? -1 : 1)];
      if (next === undefined || (chosen < 0 && event.shiftKey)) return;
      tabbed = next;
      send({ do: "choose", index: next });
    } else if (ARROWS[event.key]) {
      const [dx, dy] = ARROWS[event.key], step = event.shiftKey ? 0.1 : 1;
      send({ do: "nudge", dx: dx * step, dy: dy * step });
    } else if (event.key === "+" || event.key === "=") zoom(1.25, middle);
    else if (event.key === "-") zoom(0.8, middle);
    else if (event.key === "0") whole();
    else if (KEYS[event.key]) send({ do: KEYS[event.key] });
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  for (const [action, text, title] of BUTTONS) {
    const button = element("button", { type: "button", class: `lt-button lt-${action}`, title, "aria-label": title }, bar);
    button.textContent = text;
    button.addEventListener("click", (event) => {
      if (event.detail > 0) canvas.focus({ preventScroll: true }); // by mouse: the keys work at once; by keyboard the focus stays
      if (action === "zoom-in" || action === "zoom-out") zoom(action === "zoom-in" ? 1.25 : 0.8, [side / 2, side / 2]);
      else if (action === "fit") whole();
      else send({ do: action });
    });
  }

  function picture() {
    if (url) URL.revokeObjectURL(url);
    url = URL.createObjectURL(new Blob([model.get("picture")], { type: "image/png" }));
    const size = [image.naturalWidth, image.naturalHeight].join();
    image.onload = () => { // another contrast of the same picture keeps the view
      if (model.get("fresh") || size !== [image.naturalWidth, image.naturalHeight].join()) whole(); else draw();
      canvas.dataset.ready = model.get("name");
    };
    image.src = url;
  }
  const say = () => {
    status.textContent = model.get("status");
    status.classList.toggle("lt-refused", model.get("refused"));
  };
  model.on("change:picture", picture);
  for (const name of ["points", "guides", "chosen"]) model.on(`change:${name}`, draw);
  model.on("change:status", say);
  model.on("change:refused", say);
  say();
  picture();
  return () => { if (url) URL.revokeObjectURL(url); };
}

export default { render };
