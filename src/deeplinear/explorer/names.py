"""What is done in the browser: names of controls for screen readers, where the toolkit gives none;
an address without a history of its own.
"""

#: Looks through the page, shadow roots included, again and again, for parts come and go.
NAMES = """
// the address follows the picture in place: no move of a slider is a page to go back through
history.pushState = history.replaceState.bind(history);
const words = (el) => el ? el.textContent.trim() : "";
const named = (el, name) => {
  if (name && el.getAttribute("aria-label") !== name) el.setAttribute("aria-label", name);
};
const before = (el) => {  // what stands before a part, which is its label on the page
  const other = el.getRootNode().host?.previousElementSibling;
  return other?.shadowRoot ?? other;
};
const PLAYER = {first: "to the beginning", previous: "a step back", reverse: "play backwards",
  pause: "pause", play: "play", next: "a step on", last: "to the end", slower: "slower",
  faster: "faster"};
const name_one = (el) => {
  const root = el.getRootNode();
  if (el.matches("[role=slider]")) {
    const own = root.querySelector(".bk-slider-title");
    const title = own && words(own) ? own : before(el)?.querySelector?.(".bk-clearfix");
    if (title) {
      const value = words(title.querySelector("b, .bk-slider-value"));
      named(el, words(title).split(":")[0]);
      if (value && el.getAttribute("aria-valuetext") !== value)
        el.setAttribute("aria-valuetext", value);
    }
  } else if (el.matches(".bk-spin-btn")) {
    named(el, el.matches(".bk-spin-btn-up") ? "more" : "less");
    el.tabIndex = -1;  // the arrow keys do the same in the field
  } else if (el.matches("input[type=checkbox]")) {
    named(el, words(el.parentElement) || words(el.nextElementSibling));
  } else if (el.matches("input[type=range]")) {
    named(el, "time");
  } else if (el.matches("input.bk-input")) {
    if (!words(root.querySelector("label"))) {
      const label = before(el)?.querySelector?.("input[type=checkbox]")?.getAttribute("aria-label");
      named(el, label ? "value of " + label.replace(" observed", "") : "value");
    }
  } else if (el.matches("button") && !words(el)) {
    const found = Object.keys(PLAYER).find((key) => el.className.includes(key));
    named(el, PLAYER[found] ?? el.title ?? "button");
  }
};
const walk = (root) => {
  for (const el of root.querySelectorAll("*")) {
    name_one(el);
    if (el.shadowRoot) walk(el.shadowRoot);
  }
};
const main = document.body.querySelector(":scope > div");
if (main) main.setAttribute("role", "main");
walk(document.body);
setInterval(() => walk(document.body), 500);
"""
