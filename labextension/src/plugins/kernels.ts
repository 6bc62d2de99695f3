/** How the start of a kernel in a pod goes: what it waits for, and why it failed, while its notebook waits for it. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';

import { IKubeflow } from '../tokens';
import type { KernelStart } from '../wire';

export const kernels: JupyterFrontEndPlugin<void> = {
  id: 'jupyterlab-kf:kernels',
  description: 'Tells what a kernel under a hardware profile waits for.',
  autoStart: true,
  requires: [IKubeflow],
  activate: (app: JupyterFrontEnd, kf: IKubeflow) => {
    const { trans } = kf;
    /** The notices that are shown, by kernel. */
    const shown = new Map<string, string>();
    /** Failures that were told, here or before the page was loaded. */
    const told = new Set<string>();
    let first = true;

    const words = ({ notebook, sentence }: KernelStart): string => (notebook ? `${notebook}: ${sentence}` : sentence);

    /** A notice is cut after some words, so what to do is behind a button of it. */
    const actions = ({ hardware, sentence, hint }: KernelStart): Notification.IAction[] => {
      const body = `${sentence} ${hint.charAt(0).toUpperCase()}${hint.slice(1)}.`;
      const buttons = [Dialog.okButton({ label: trans.__('Close') })];
      const callback = (event: MouseEvent): void => {
        // The notice stays until the start is over.
        event.preventDefault();
        void showDialog({ title: trans.__('Kernel on %1', hardware), body, buttons });
      };
      return hint ? [{ label: trans.__('What to do'), callback }] : [];
    };

    const waits = (start: KernelStart): void => {
      const message = words(start);
      const id = shown.get(start.kernel_id);
      const options = { autoClose: false as const, actions: actions(start) };
      if (!id || !Notification.update({ id, message, type: 'in-progress', ...options })) {
        shown.set(start.kernel_id, Notification.emit(message, 'in-progress', options));
      }
    };

    const over = (kernel: string): void => {
      Notification.dismiss(shown.get(kernel));
      shown.delete(kernel);
    };

    void app.restored.then(() => {
      kf.client.kernels(starts => {
        for (const kernel of shown.keys()) {
          if (!starts.some(start => start.kernel_id === kernel && start.state === 'waiting')) {
            over(kernel);
          }
        }
        for (const start of starts) {
          if (start.state === 'waiting') {
            waits(start);
          } else if (!told.has(start.kernel_id)) {
            told.add(start.kernel_id);
            if (!first) {
              Notification.error(words(start), { autoClose: 15_000, actions: actions(start) });
            }
          }
        }
        first = false;
      });
    });
  }
};
