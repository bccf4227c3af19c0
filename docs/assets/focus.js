// Whatever scrolls sideways can be reached and scrolled by keys.
addEventListener("load", () => {
  for (const part of document.querySelectorAll("pre > code, .md-typeset__scrollwrap, .formula"))
    if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
});
