"""What a page tells the kernel about itself."""

from __future__ import annotations

import anywidget
import traitlets


class PageTheme(anywidget.AnyWidget):
    """Whether the page is dark, as JupyterLab says of its theme and elsewhere the browser; draws nothing."""

    _esm = """
    function render({ model, el }) {
      el.style.display = "none";
      const asks = window.matchMedia("(prefers-color-scheme: dark)");
      const read = () => {
        const light = document.body.dataset.jpThemeLight;
        const dark = light === undefined ? asks.matches : light === "false";
        if (dark !== model.get("dark")) { model.set("dark", dark); model.save_changes(); }
      };
      const seen = new MutationObserver(read);
      seen.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
      asks.addEventListener("change", read);
      read();
      return () => { seen.disconnect(); asks.removeEventListener("change", read); };
    }
    export default { render };
    """
    dark = traitlets.Bool(False).tag(sync=True)
