// The viewer of a case's volumes: NiiVue, unpacked only when the first one is opened, and never two at a time.
"use strict";

const medbundlesViewer = (() => {
  const HELP = "Arrow keys move through the body, Page Up and Page Down too; M, A, C, S: all planes, axial, " +
    "coronal, sagittal; L: labels; O: outlines; + and −: how strong; I: next image; R: back to the start. " +
    "Wheel: slices; drag with the right button: window.";
  const PLANES = [["M", "all planes", "sliceTypeMultiplanar"], ["A", "axial", "sliceTypeAxial"],
    ["C", "coronal", "sliceTypeCoronal"], ["S", "sagittal", "sliceTypeSagittal"]];
  const MOVES = {
    ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 0, 1], ArrowDown: [0, 0, -1],
    PageUp: [0, 1, 0], PageDown: [0, -1, 0],
  };
  // In one plane, up and down go through its slices.
  const THROUGH = { A: [0, 0, 1], C: [0, 1, 0], S: [1, 0, 0] };
  const OPACITY = 0.5, STEP = 0.1;
  let library = null, open = null;

  function unpacked() {
    library ??= (async () => {
      const packed = document.getElementById("niivue").textContent.trim();
      const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      const source = new Blob([await new Response(stream).text()], { type: "text/javascript" });
      await new Promise((done, failed) => {
        const script = document.createElement("script");
        script.src = URL.createObjectURL(source);
        script.onload = done;
        script.onerror = () => failed(new Error("the viewer's program did not load"));
        document.head.append(script);
      });
      return window.niivue;
    })();
    return library;
  }

  function colourTable(legend) {
    const table = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
    for (const [value, name, colour] of legend) {
      const rgb = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
      table.R.push(rgb[0]); table.G.push(rgb[1]); table.B.push(rgb[2]);
      table.A.push(255); table.I.push(value); table.labels.push(name);
    }
    return table;
  }

  class Viewer {
    constructor(place, view, name) {
      this.place = place; this.view = view; this.layer = 0; this.plane = "M";
      this.shown = Boolean(view.labels); this.outlines = false; this.opacity = OPACITY;
      this.build(name);
    }

    build(name) {
      const { make } = medbundlesPage, { view } = this;
      this.canvas = make("canvas", { tabIndex: -1 });
      this.frame = make("div", { className: "canvas", tabIndex: 0 }, this.canvas);
      this.frame.setAttribute("role", "application");
      this.frame.setAttribute("aria-label", `Viewer of ${name}. ${HELP}`);
      this.status = make("output", { className: "status" });
      this.images = make("select", { onchange: () => this.showLayer(Number(this.images.value)) });
      view.layers.forEach((layer, at) => this.images.append(
        make("option", { value: at }, layer.title + (layer.synthetic ? ", SYNTHETIC" : ""))));
      this.planes = make("select", { onchange: () => this.showPlane(this.planes.value) });
      PLANES.forEach(([key, title]) => this.planes.append(make("option", { value: key }, title)));
      this.toggle = make("button", { type: "button", onclick: () => this.showLabels(!this.shown) }, "Labels");
      this.contour = make("button", { type: "button", onclick: () => this.showOutlines(!this.outlines) }, "Outlines");
      this.strength = make("input", { type: "range", min: 0, max: 1, step: STEP, value: OPACITY,
        oninput: () => this.setOpacity(Number(this.strength.value)) });
      const reset = make("button", { type: "button", onclick: () => this.reset() }, "Reset");
      const bar = make("div", { className: "bar" });
      if (view.layers.length > 1) bar.append(make("label", {}, "Image ", this.images));
      bar.append(make("label", {}, "Plane ", this.planes));
      if (view.labels) bar.append(this.toggle, this.contour, make("label", {}, "Strength ", this.strength));
      bar.append(reset);
      const legend = make("ul", { className: "legend" }, ...view.legend.map(([, text, colour]) =>
        make("li", {}, make("i", { style: `background:${colour}` }), text)));
      this.place.replaceChildren(bar, this.frame, this.status, legend,
        make("p", { className: "help" }, `${HELP} The viewer shows ${view.note}; the files hold everything.`));
      this.frame.addEventListener("keydown", (event) => this.key(event), true);
      this.frame.addEventListener("pointerdown", () => this.frame.focus({ preventScroll: true }));
    }

    async start() {
      this.status.textContent = "Opening ...";
      const { Niivue, NVImage } = await unpacked(), { view } = this;
      const nv = new Niivue({
        isRadiologicalConvention: true, sagittalNoseLeft: true, isOrientationTextVisible: view.oriented,
        dragAndDropEnabled: false, loadingText: "", logLevel: "error", backColor: [0, 0, 0, 1],
        crosshairColor: [0.55, 0.75, 1, 1], crosshairWidth: 0.3, showAllOrientationMarkers: true, fontColor: [1, 1, 1, 1], multiplanarShowRender: 0,
        multiplanarLayout: this.place.clientWidth > 700 ? 3 : 0, multiplanarPadPixels: 6,
        isColorbar: false, show3Dcrosshair: false,
      });
      nv.onLocationChange = (place) => this.tell(place);
      await nv.attachToCanvas(this.canvas);
      this.canvas.tabIndex = -1;
      this.nv = nv;
      this.layers = [];
      for (const layer of view.layers) {
        this.layers.push(await NVImage.loadFromBase64({ base64: layer.nifti, name: `${layer.title}.nii.gz`,
          colormap: "gray", cal_min: layer.window[0], cal_max: layer.window[1] }));
      }
      nv.addVolume(this.layers[0]);
      if (view.labels) {
        const labels = await NVImage.loadFromBase64({ base64: view.labels, name: "labels.nii.gz", opacity: OPACITY });
        labels.setColormapLabel(colourTable(view.legend));
        nv.addVolume(labels);
      }
      this.reset();
      this.place.dataset.ready = "true";
    }

    reset() {
      this.showLayer(0); this.showPlane("M"); this.showOutlines(false);
      this.opacity = OPACITY; this.strength.value = OPACITY; this.showLabels(Boolean(this.view.labels));
      this.layers.forEach((image, at) => [image.cal_min, image.cal_max] = this.view.layers[at].window);
      this.nv.updateGLVolume();
      this.nv.scene.pan2Dxyzmm = [0, 0, 0, 1];
      this.nv.scene.crosshairPos = this.nv.mm2frac(this.view.start);
      this.nv.createOnLocationChange();
      this.nv.drawScene();
    }

    showLayer(at) {
      this.layer = at; this.images.value = at;
      const overlays = this.nv.volumes.slice(1);
      Object.assign(this.nv, { volumes: [this.layers[at], ...overlays], back: this.layers[at], overlays });
      this.nv.updateGLVolume();
      this.nv.createOnLocationChange();
    }

    showPlane(key) {
      this.plane = key; this.planes.value = key;
      this.nv.setSliceType(this.nv[PLANES.find(([short]) => short === key)[2]]);
    }

    showLabels(shown) {
      if (!this.view.labels) return;
      this.shown = shown; this.toggle.setAttribute("aria-pressed", shown);
      this.nv.setOpacity(1, shown ? this.opacity : 0);
    }

    showOutlines(outlines) {
      if (!this.view.labels) return;
      this.outlines = outlines; this.contour.setAttribute("aria-pressed", outlines);
      this.nv.setAtlasOutline(outlines ? 1 : 0);
    }

    setOpacity(opacity) {
      this.opacity = Math.min(1, Math.max(0, opacity)); this.strength.value = this.opacity;
      this.showLabels(true);
    }

    tell(place) {
      const { unit, legend, oriented } = this.view;
      const words = place.mm ? [Array.from(place.mm).slice(0, 3).map((n) => n.toFixed(1)).join(", ") +
        (oriented ? " mm (right, front, up)" : "")] : [];
      const [grey, label] = place.values ?? [];
      if (grey) words.push(`${this.view.layers[this.layer].title} ${grey.value.toFixed(0)} ${unit}`.trim());
      const named = label && legend.find(([value]) => value === Math.round(label.value));
      if (named) words.push(named[1]);
      this.status.textContent = words.join("  ·  ");
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.nv) return;
      const key = event.key.length === 1 ? event.key.toUpperCase() : event.key;
      if (!this.act(key)) return;
      event.preventDefault();
      event.stopPropagation();
    }

    act(key) {
      if (key in MOVES) this.move(key);
      else if (PLANES.some(([short]) => short === key)) this.showPlane(key);
      else if (key === "L") this.showLabels(!this.shown);
      else if (key === "O") this.showOutlines(!this.outlines);
      else if (key === "+" || key === "=") this.setOpacity(this.opacity + STEP);
      else if (key === "-" || key === "−") this.setOpacity(this.opacity - STEP);
      else if (key === "I") this.showLayer((this.layer + 1) % this.layers.length);
      else if (key === "R") this.reset();
      else return false;
      return true;
    }

    move(key) {
      const through = THROUGH[this.plane], sign = key === "ArrowUp" || key === "PageUp" ? 1 : -1;
      let step = through && !["ArrowLeft", "ArrowRight"].includes(key) ? through.map((n) => n * sign) : MOVES[key];
      // On the screen the patient's left is to the right, and in sagittal planes the front is to the left.
      if (key === "ArrowLeft" || key === "ArrowRight") {
        const right = key === "ArrowRight" ? 1 : -1;
        step = this.plane === "S" ? [0, -right, 0] : [-right, 0, 0];
      }
      this.nv.moveCrosshairInVox(...step);
    }

    close() {
      this.nv?.gl?.getExtension("WEBGL_lose_context")?.loseContext();
      this.nv?.cleanup();
      this.place.replaceChildren();
      delete this.place.dataset.ready;
    }
  }

  return {
    async show(place, view, name) {
      if (open?.place === place) return open;
      open?.close();
      open = new Viewer(place, view, name);
      try {
        await open.start();
      } catch (error) {
        place.textContent = `The viewer cannot be shown here (${error.message}); the preview and the files can.`;
      }
      return open;
    },
    closeIn(place) {
      if (open?.place !== place) return;
      open.close();
      open = null;
    },
  };
})();
