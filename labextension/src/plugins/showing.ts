/** Where views of our own are shown. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { Widget } from '@lumino/widgets';

/** Show a widget in the main area, or beside it where that has room for one document only, as Notebook's has. */
export function show(app: JupyterFrontEnd, widget: Widget, mode: 'tab-after' | 'split-right' = 'tab-after'): void {
  app.shell.add(widget, 'main', { mode });
  if (!widget.parent) {
    app.shell.add(widget, 'right', { rank: 900 });
  }
  app.shell.activateById(widget.id);
}
