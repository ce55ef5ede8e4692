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


class CopyText(anywidget.AnyWidget):
    """Text in a box with a button that copies it; nothing where there is no text."""

    _esm = """
    function render({ model, el }) {
      const text = document.createElement("textarea");
      text.readOnly = true; text.rows = 3; text.setAttribute("aria-label", "command");
      text.style.cssText = "width:100%;box-sizing:border-box;font:12px/1.4 monospace;resize:vertical;" +
        "background:transparent;color:inherit;border:1px solid #8886;border-radius:4px;padding:6px";
      const button = document.createElement("button");
      button.textContent = "Copy as command"; button.className = "jupyter-button widget-button";
      button.onclick = async () => {
        text.select();
        try { await navigator.clipboard.writeText(text.value); } catch { document.execCommand("copy"); }
        button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy as command"; }, 1500);
      };
      const read = () => {
        text.value = model.get("text");
        el.style.display = text.value ? "block" : "none";
      };
      model.on("change:text", read);
      el.append(text, button);
      read();
    }
    export default { render };
    """
    text = traitlets.Unicode("").tag(sync=True)
