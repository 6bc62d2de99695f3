/** What commands share: whom they are about, how a refusal is told, and where code goes. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Clipboard, Notification } from '@jupyterlab/apputils';
import { NotebookActions } from '@jupyterlab/notebook';
import type { INotebookTracker } from '@jupyterlab/notebook';
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyJSONObject } from '@lumino/coreutils';

import { KubeflowError } from '../client';
import type { IKubeflow } from '../tokens';

export type Args = Record<string, unknown>;

export function asText(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** What the row of that class says of itself on which the context menu was opened. */
export function rowOf(app: JupyterFrontEnd, className: string): DOMStringMap | undefined {
  return app.contextMenuHitTest(node => node.classList.contains(className))?.dataset;
}

/** What a command is but for its deed. */
export type Face = Omit<CommandRegistry.ICommandOptions, 'execute'>;

/** Adds commands about one thing of a kind, which `find` finds; without one nothing is done, and a refusal is told. */
export function deedsAbout<K>(
  app: JupyterFrontEnd,
  schema: ReadonlyJSONObject,
  find: (args: Args) => K | null | Promise<K | null>
): (id: string, face: string | Face, act: (key: K, args: Args) => Promise<void>) => void {
  return (id, face, act) => {
    app.commands.addCommand(id, {
      describedBy: { args: schema },
      ...(typeof face === 'string' ? { label: face } : face),
      execute: async args => {
        try {
          const key = await find(args);
          if (key) {
            await act(key, args);
          }
        } catch (error) {
          tell(error);
        }
      }
    });
  };
}

/** Put one of the ways in which something can be said into the clipboard: the one that `as` names. */
export function copy({ trans }: IKubeflow, ways: object, as: unknown): void {
  Clipboard.copyToSystem(asText((ways as Args)[asText(as) || 'yaml']));
  Notification.info(trans.__('Copied.'), { autoClose: 1500 });
}

/** Say why a deed was refused, and what to do. */
export function tell(error: unknown): void {
  const hint = error instanceof KubeflowError && error.hint ? `\n${error.hint}` : '';
  Notification.error(`${error instanceof Error ? error.message : String(error)}${hint}`, { autoClose: 10_000 });
}

/** Put code into a new cell of the notebook that is open, or, and then the answer is false, into the clipboard. */
export function insert(app: JupyterFrontEnd, { trans }: IKubeflow, notebooks: INotebookTracker | null, code: string): boolean {
  const panel = notebooks?.currentWidget;
  if (!panel) {
    Clipboard.copyToSystem(code);
    Notification.info(trans.__('No notebook is open: the cell is in the clipboard.'), { autoClose: 4000 });
    return false;
  }
  NotebookActions.insertBelow(panel.content);
  panel.content.activeCell?.model.sharedModel.setSource(code);
  app.shell.activateById(panel.id);
  return true;
}
