// What the page can do besides being read: tabs, pictures in full size, slices to compare, a filter.
"use strict";

const medbundlesPage = (() => {
  function make(name, attributes, ...children) {
    const element = Object.assign(document.createElement(name), attributes);
    if (attributes.style) element.setAttribute("style", attributes.style);
    element.append(...children);
    return element;
  }

  function viewOf(section) {
    const data = document.getElementById(section.dataset.view ?? "");
    return data ? JSON.parse(data.textContent) : {};
  }

  // One of the pictures, the comparison or the viewer is seen at a time; on paper the pictures are.
  function addTabs(section) {
    const stage = section.querySelector(".stage");
    if (!stage) return;
    const view = section.dataset.tools?.split(" ") ?? [];
    const name = section.querySelector("h2").textContent;
    const panes = [...stage.querySelectorAll("figure")].map((figure) => [figure.dataset.title, figure, () => {}]);
    if (view.includes("compare")) {
      const pane = stage.appendChild(make("div", { className: "compare", hidden: true }));
      panes.push(["Compare", pane, () => pane.firstChild || buildComparison(pane, viewOf(section).compare)]);
    }
    if (view.includes("volume")) {
      const pane = stage.appendChild(make("div", { className: "viewer", hidden: true }));
      panes.push(["Viewer", pane, () => medbundlesViewer.show(pane, viewOf(section).volume, name)]);
    }
    if (panes.length < 2) return;
    const bar = make("div", { className: "tabs" });
    const buttons = panes.map(([title]) => bar.appendChild(make("button", { type: "button" }, title)));
    const select = (chosen) => panes.forEach(([, pane, start], at) => {
      buttons[at].setAttribute("aria-pressed", at === chosen);
      pane.hidden = at !== chosen;
      if (at === chosen) start();
      else if (pane.className === "viewer") medbundlesViewer.closeIn(pane);
    });
    buttons.forEach((button, at) => button.addEventListener("click", () => select(at)));
    bar.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const at = buttons.indexOf(document.activeElement);
      if (step && at >= 0) buttons[(at + step + buttons.length) % buttons.length].focus();
    });
    stage.prepend(bar);
    select(0);
  }

  function buildComparison(pane, view) {
    const sides = [...view.pair];
    let slice = view.start;
    const picture = () => make("img", { alt: "", draggable: false });
    const below = picture(), above = picture(), line = make("b", {});
    const captions = [make("span", { className: "left" }), make("span", { className: "right" })];
    const letters = [...view.letters].map((letter, at) => make("span", { className: `letter at${at}` }, letter));
    const [wide, high] = view.size;
    const frame = make("div", { className: "swipe", style: `aspect-ratio:${wide}/${high};max-width:${70 * wide / high}vh` },
      below, above, line, ...captions, ...letters);
    const slider = make("input", { type: "range", min: 0, max: 100, value: 50, step: 1, className: "divider",
      ariaLabel: "Where the two pictures meet", oninput: () => divide() });
    const which = make("output", {});
    const divide = () => {
      above.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
      line.style.left = `${slider.value}%`;
    };
    const show = () => {
      [below, above].forEach((image, at) => { image.src = view.sets[sides[at]].pictures[slice]; });
      captions.forEach((caption, at) => {
        const { title, synthetic } = view.sets[sides[at]];
        caption.textContent = title + (synthetic ? ", SYNTHETIC" : "");
        (at ? above : below).alt = caption.textContent;
      });
      which.textContent = view.slices[slice];
      divide();
    };
    const bar = make("div", { className: "bar" });
    if (view.sets.length > 2) sides.forEach((chosen, at) => {
      const choice = make("select", { onchange: () => { sides[at] = Number(choice.value); show(); } });
      view.sets.forEach((set, index) => choice.append(
        make("option", { value: index }, set.title + (set.synthetic ? ", SYNTHETIC" : ""))));
      choice.value = chosen;
      bar.append(make("label", {}, at ? "Right " : "Left ", choice));
    });
    if (view.slices.length > 1) {
      const steps = make("input", { type: "range", min: 0, max: view.slices.length - 1, value: slice,
        oninput: () => { slice = Number(steps.value); show(); } });
      bar.append(make("label", {}, "Slice ", steps), which);
    }
    const drag = (event) => {
      const box = frame.getBoundingClientRect();
      slider.value = 100 * (event.clientX - box.left) / box.width;
      divide();
    };
    frame.addEventListener("pointerdown", (event) => { frame.setPointerCapture(event.pointerId); drag(event); });
    frame.addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
    pane.append(...(bar.children.length ? [bar] : []), frame, slider,
      make("p", { className: "help" }, `Drag the line, or move it with the arrow keys. ${view.note}`));
    show();
  }

  function addZoom() {
    const dialog = document.body.appendChild(make("dialog", { className: "zoomed" }));
    dialog.addEventListener("click", () => dialog.close());
    document.querySelectorAll("button.zoom").forEach((button) => button.addEventListener("click", () => {
      const { src, alt } = button.querySelector("img");
      dialog.replaceChildren(make("img", { src, alt }));
      dialog.showModal();
    }));
  }

  function addFilter() {
    const bar = document.querySelector(".filter");
    if (!bar) return;
    const text = bar.querySelector("input"), state = bar.querySelector("select"), count = bar.querySelector("output");
    const cases = [...document.querySelectorAll(".case")];
    const apply = () => {
      const wanted = text.value.trim().toLowerCase();
      cases.forEach((section) => {
        const named = section.querySelector("h2").textContent.toLowerCase().includes(wanted);
        section.hidden = !named || (state.value && !section.dataset.state.split(" ").includes(state.value));
      });
      count.textContent = `${cases.filter((section) => !section.hidden).length} of ${cases.length}`;
    };
    bar.hidden = false;
    [text, state].forEach((control) => control.addEventListener("input", apply));
    apply();
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll(".case").forEach(addTabs);
    addZoom();
    addFilter();
  });
  return { make };
})();
