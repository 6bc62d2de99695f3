"""The quick start notebook as a person opens it: in JupyterLab, in a browser, cell by cell."""

from __future__ import annotations

import os
from pathlib import Path

from labs import Lab
from playwright.sync_api import Browser, Page
from playwright.sync_api import TimeoutError as TooLateError

# Drawn by our extension where it is built, else the HTML that is beside it.
CARD = ".kf-card, .kfx-Card"
RUN_ALL = """async () => {
  const app = window.jupyterapp;
  await app.commands.execute('notebook:run-all-cells');
  return null;
}"""
# How the run went: 'ran' when all cells have run, what stopped it when one failed, '' while it goes on.
OUTCOME = r"""() => {
  const panel = [...window.jupyterapp.shell.widgets('main')].find(one => one.sessionContext);
  if (!panel) return '';
  const cells = panel.content.widgets.filter(c => c.model.type === 'code');
  const status = panel.sessionContext.session?.kernel?.status;
  for (const cell of cells) {
    const { outputs, source, metadata } = cell.model.toJSON();
    const error = outputs.find(one => one.output_type === 'error');
    if (error && !(metadata.tags ?? []).includes('raises-exception')) {
      return `the cell\n${source}\nfailed:\n${error.traceback.join('\n')}`;
    }
  }
  return cells.length > 0 && cells.every(c => c.model.executionCount !== null) && status === 'idle' ? 'ran' : '';
}"""
WHERE = r"""() => [...window.jupyterapp.shell.widgets('main')].find(one => one.sessionContext).content.widgets
  .filter(c => c.model.type === 'code')
  .map(c => `[${c.model.executionCount ?? c.model.executionState ?? ''}] ${c.model.sharedModel.getSource().slice(0,60)}`
    + ` => ${c.node.querySelector('.jp-Cell-outputArea')?.innerText.slice(-200)}`).join('\n')"""


def opened(browser: Browser, lab: Lab, notebook: str) -> Page:
    """A page with the notebook open and its kernel ready."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.goto(f"{lab.url}/lab/tree/{notebook}?token={lab.token}&reset")
    page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=60_000)
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
        timeout=60_000,
    )
    return page


def test_the_quick_start_runs_in_the_browser(browser: Browser, lab: Lab, tmp_path: Path) -> None:
    page = opened(browser, lab, "quickstart.ipynb")
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.evaluate(RUN_ALL)
    try:
        outcome = page.wait_for_function(OUTCOME, timeout=300_000).json_value()
    except TooLateError as error:
        raise AssertionError(f"not all cells ran in 5 minutes:\n{page.evaluate(WHERE)}") from error
    assert outcome == "ran", outcome
    pictures = Path(os.environ.get("KF_PICTURES", tmp_path))
    card = page.locator(CARD).first
    card.scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelector('.kf-card, .kfx-Card').innerText.includes('Succeeded')")
    assert card.locator("svg").count() >= 1, "the metrics are drawn"
    failed = page.locator(CARD, has_text="Failed").first
    failed.scroll_into_view_if_needed()
    assert failed.is_visible()
    card.evaluate("node => node.closest('.jp-Cell').scrollIntoView({block: 'end'})")
    page.screenshot(path=pictures / "quickstart.png")
    failed.evaluate("node => node.closest('.jp-Cell').scrollIntoView({block: 'end'})")
    page.screenshot(path=pictures / "failure.png")
    assert not errors, errors
    page.close()
