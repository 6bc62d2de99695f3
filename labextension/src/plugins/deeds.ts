/** What commands share: how a refusal is told, and where code goes. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Clipboard, Notification } from '@jupyterlab/apputils';
import { NotebookActions } from '@jupyterlab/notebook';
import type { INotebookTracker } from '@jupyterlab/notebook';

import { KubeflowError } from '../client';
import type { IKubeflow } from '../tokens';

/** Say why a deed was refused, and what to do. */
export function tell(error: unknown): void {
  const hint = error instanceof KubeflowError && error.hint ? `\n${error.hint}` : '';
  Notification.error(`${error instanceof Error ? error.message : String(error)}${hint}`, { autoClose: 10_000 });
}

/** Put code into a new cell of the notebook that is open, or into the clipboard. */
export function insert(app: JupyterFrontEnd, { trans }: IKubeflow, notebooks: INotebookTracker | null, code: string): void {
  const panel = notebooks?.currentWidget;
  if (!panel) {
    Clipboard.copyToSystem(code);
    Notification.info(trans.__('No notebook is open: the cell is in the clipboard.'), { autoClose: 4000 });
    return;
  }
  NotebookActions.insertBelow(panel.content);
  panel.content.activeCell?.model.sharedModel.setSource(code);
  app.shell.activateById(panel.id);
}
