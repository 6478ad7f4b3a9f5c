// From a file, the browser lets a page read no other: search results come without their excerpts.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// What scrolls sideways must be reachable by keyboard, and only the browser knows what does: it
// depends on the width. The theme does this for code, a third of a second after the window's change.
const scrollable = "pre, .katex-display, .pst-scrollable-table-container, .output.text_html, .sig";

function mark(box) {
  const overflows = box.scrollWidth > box.clientWidth + 1;
  if (overflows) box.tabIndex = 0;
  else box.removeAttribute("tabindex");
}

// A box that is folded has no width until it is opened: that too is a change of size.
const sizes = new ResizeObserver((changes) => changes.forEach((change) => mark(change.target)));

addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(scrollable)) sizes.observe(box);
});
// A font that arrives late changes what is in a box, and not the box.
addEventListener("load", () => document.querySelectorAll(scrollable).forEach(mark));
