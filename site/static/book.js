// From a file, the browser lets a page read no other: search results come without their excerpts.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// What scrolls sideways must be reachable by keyboard, and only the browser knows what does:
// it depends on the width of the window. The theme does this for code, but not after a change of width.
const scrollable = "pre, .katex-display, .pst-scrollable-table-container, .output.text_html, .sig";

function mark() {
  for (const box of document.querySelectorAll(scrollable)) {
    const overflows = box.scrollWidth > box.clientWidth + 1;
    if (overflows) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

addEventListener("load", mark);
addEventListener("resize", mark);
// A folded formula has no width until it is opened.
addEventListener("toggle", mark, true);
