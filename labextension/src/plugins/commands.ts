/** Commands first: everything that can be clicked is a command, with a label, an icon and a schema of its arguments. */

import { ILayoutRestorer } from '@jupyterlab/application';
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Clipboard, Dialog, ICommandPalette, Notification, showDialog, WidgetTracker } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker, NotebookActions } from '@jupyterlab/notebook';
import type { NotebookPanel } from '@jupyterlab/notebook';

import { KubeflowError } from '../client';
import { kubeflowIcon } from '../icons';
import { codeOf } from '../notebooks';
import { CommandIDs, IKubeflow } from '../tokens';
import type { JobTab } from '../tokens';
import type { Copies, JobKey } from '../wire';

const KEY_SCHEMA = {
  type: 'object',
  properties: {
    kind: { type: 'string', description: 'The kind of the job, such as PyTorchJob' },
    namespace: { type: 'string', description: 'Its namespace' },
    name: { type: 'string', description: 'Its name' },
    uid: { type: 'string', description: 'Its uid, to mean that very one' },
    tab: { type: 'string', description: 'The page to show: overview, logs, metrics, events, code or yaml' },
    replica: { type: 'string', description: 'The replica whose log to show' },
    as: { type: 'string', description: 'What to copy: magic, python, yaml or kubectl' }
  }
} as const;

type Args = Record<string, unknown>;

export const commands: JupyterFrontEndPlugin<void> = {
  id: 'jupyterlab-kf:commands',
  description: 'Commands, their places in palette, launcher and menus, and the main-area views.',
  autoStart: true,
  requires: [IKubeflow],
  optional: [ICommandPalette, ILauncher, ILayoutRestorer, INotebookTracker, IFileBrowserFactory],
  activate: (
    app: JupyterFrontEnd,
    kf: IKubeflow,
    palette: ICommandPalette | null,
    launcher: ILauncher | null,
    restorer: ILayoutRestorer | null,
    notebooks: INotebookTracker | null,
    browser: IFileBrowserFactory | null
  ) => {
    addViews(app, kf, restorer);
    addDeeds(app, kf, notebooks);
    addLaunches(app, kf, notebooks, browser);
    const category = kf.trans.__('Kubeflow');
    if (palette) {
      for (const command of [
        CommandIDs.panel,
        CommandIDs.launch,
        CommandIDs.runNotebook,
        CommandIDs.runCell,
        CommandIDs.startCluster
      ]) {
        palette.addItem({ command, category });
      }
    }
    launcher?.add({ command: CommandIDs.launch, category, rank: 1 });
  }
};

/** The job that a command is about: of its arguments, or the row that the context menu was opened on. */
function jobOf(app: JupyterFrontEnd, args: Args): JobKey | null {
  if (typeof args.kind === 'string' && typeof args.name === 'string') {
    const { kind, name } = args;
    return { kind, name, namespace: asText(args.namespace), uid: asText(args.uid) };
  }
  const row = app.contextMenuHitTest(node => node.classList.contains('kfx-JobRow'));
  if (!row) {
    return null;
  }
  const { kind = '', namespace = '', name = '', uid = '' } = row.dataset;
  return { kind, namespace, name, uid };
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function addViews(app: JupyterFrontEnd, kf: IKubeflow, restorer: ILayoutRestorer | null): void {
  const { trans } = kf;
  type JobPanel = import('../panels/job').JobPanel;
  const tracker = new WidgetTracker<JobPanel>({ namespace: 'jupyterlab-kf' });
  app.commands.addCommand(CommandIDs.openJob, {
    label: trans.__('Open Job'),
    caption: trans.__('Show the log, the metrics and the events of a job'),
    icon: kubeflowIcon,
    describedBy: { args: KEY_SCHEMA },
    execute: async args => {
      const key = jobOf(app, args);
      if (!key) {
        return;
      }
      const { JobPanel, panelId } = await import('../panels/job');
      const wish = { tab: (asText(args.tab) || 'overview') as JobTab, replica: asText(args.replica) };
      let panel = tracker.find(one => one.id === panelId(key) && (!key.uid || !one.key.uid || one.key.uid === key.uid));
      if (panel) {
        if (args.tab) {
          panel.turn(wish);
        }
      } else {
        tracker.find(one => one.id === panelId(key))?.dispose();
        panel = new JobPanel(kf, key, wish);
        app.shell.add(panel, 'main');
        await tracker.add(panel);
      }
      app.shell.activateById(panel.id);
    }
  });
  if (restorer) {
    void restorer.restore(tracker, {
      command: CommandIDs.openJob,
      args: panel => ({ ...panel.key }),
      name: panel => panel.id
    });
  }
}

function addDeeds(app: JupyterFrontEnd, kf: IKubeflow, notebooks: INotebookTracker | null): void {
  const { client, trans } = kf;
  const deed = (
    id: string,
    label: string,
    act: (key: JobKey, args: Args) => Promise<void>,
    visible: (phase: string, kind: string) => boolean = () => true
  ) =>
    app.commands.addCommand(id, {
      label,
      describedBy: { args: KEY_SCHEMA },
      isVisible: args => {
        const row = args.kind ? null : app.contextMenuHitTest(node => node.classList.contains('kfx-JobRow'));
        return !row || visible(row.dataset.phase ?? '', row.dataset.kind ?? '');
      },
      execute: async args => {
        const key = jobOf(app, args);
        if (!key) {
          return;
        }
        try {
          await act(key, args);
        } catch (error) {
          const hint = error instanceof KubeflowError && error.hint ? `\n${error.hint}` : '';
          Notification.error(`${error instanceof Error ? error.message : String(error)}${hint}`, { autoClose: 10_000 });
        }
      }
    });
  const active = (phase: string) => phase !== 'Succeeded' && phase !== 'Failed';
  deed(
    CommandIDs.suspend,
    trans.__('Stop Job'),
    async key => {
      await client.deed(key, 'suspend');
    },
    (phase, kind) => active(phase) && phase !== 'Suspended' && kind !== 'ChainerJob'
  );
  deed(CommandIDs.resume, trans.__('Resume Job'), async key => {
    await client.deed(key, 'resume');
  }, phase => phase === 'Suspended');
  deed(CommandIDs.rerun, trans.__('Run Job Again'), async key => {
    const made = await client.deed(key, 'rerun');
    await app.commands.execute(CommandIDs.openJob, { ...made });
  });
  deed(CommandIDs.clone, trans.__('Change and Run Job …'), async key => {
    const { LaunchPanel, sourceOf } = await import('../panels/launch');
    const panel = new LaunchPanel(kf, sourceOf(key.name, await client.form(key)));
    app.shell.add(panel, 'main');
    app.shell.activateById(panel.id);
  });
  deed(CommandIDs.remove, trans.__('Delete Job …'), async key => {
    const answer = await showDialog({
      title: trans.__('Delete %1?', key.name),
      body: trans.__('Its replicas end, and its log, its code and its results on the cluster are gone.'),
      buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Delete') })]
    });
    if (answer.button.accept) {
      await client.delete(key);
    }
  });
  deed(CommandIDs.copyAs, trans.__('Copy Job'), async (key, args) => {
    const copies = await client.copies(key);
    Clipboard.copyToSystem(copies[(asText(args.as) || 'yaml') as keyof Copies]);
    Notification.info(trans.__('Copied.'), { autoClose: 1500 });
  });
  deed(CommandIDs.insertCell, trans.__('Insert Job as Cell'), async key => {
    const { magic } = await client.copies(key);
    const panel = notebooks?.currentWidget;
    if (!panel) {
      Clipboard.copyToSystem(magic);
      Notification.info(trans.__('No notebook is open: the cell is in the clipboard.'), { autoClose: 4000 });
      return;
    }
    NotebookActions.insertBelow(panel.content);
    panel.content.activeCell?.model.sharedModel.setSource(magic);
    app.shell.activateById(panel.id);
  });
  app.commands.addCommand(CommandIDs.startCluster, {
    label: trans.__('Start the Cluster on This Machine'),
    describedBy: { args: { type: 'object', properties: {} } },
    execute: async () => {
      const work = client.startCluster().then(info => info.name);
      Notification.promise(work, {
        pending: { message: trans.__('Starting the cluster …') },
        success: { message: () => trans.__('The cluster is running.'), options: { autoClose: 2000 } },
        error: { message: reason => (reason instanceof Error ? reason.message : String(reason)) }
      });
      await work.catch(() => undefined);
    }
  });
}

function addLaunches(
  app: JupyterFrontEnd,
  kf: IKubeflow,
  notebooks: INotebookTracker | null,
  browser: IFileBrowserFactory | null
): void {
  const { trans } = kf;
  const open = async (source: Partial<import('../panels/launch').Source>, mode: 'tab-after' | 'split-right') => {
    const { LaunchPanel, NO_SOURCE } = await import('../panels/launch');
    const panel = new LaunchPanel(kf, { ...NO_SOURCE, ...source });
    app.shell.add(panel, 'main', { mode });
    app.shell.activateById(panel.id);
  };
  const current = (): NotebookPanel | null => notebooks?.currentWidget ?? null;
  const nothing = { args: { type: 'object', properties: {} } } as const;
  app.commands.addCommand(CommandIDs.launch, {
    label: args => (args.isPalette ? trans.__('New Training Job') : trans.__('Training job')),
    caption: trans.__('Launch a distributed training job'),
    icon: kubeflowIcon,
    describedBy: nothing,
    execute: () => open({}, 'tab-after')
  });
  const fromNotebook = (whole: boolean) => () => {
    const panel = current();
    if (!panel) {
      return undefined;
    }
    const { path } = panel.context;
    const name = PathExt.basename(path);
    const cells = whole ? panel.content.widgets : panel.content.activeCell ? [panel.content.activeCell] : [];
    const code = codeOf(cells.filter(cell => cell.model.type === 'code').map(cell => cell.model.sharedModel.getSource()));
    return open(
      {
        title: whole ? name : trans.__('a cell of %1', name),
        code,
        folder: PathExt.dirname(path),
        filename: `${PathExt.basename(path, '.ipynb')}.py`
      },
      'split-right'
    );
  };
  app.commands.addCommand(CommandIDs.runNotebook, {
    label: trans.__('Run Notebook as Job …'),
    caption: trans.__('Run this notebook as a training job on the cluster'),
    icon: kubeflowIcon,
    describedBy: nothing,
    isEnabled: () => current() !== null,
    execute: fromNotebook(true)
  });
  app.commands.addCommand(CommandIDs.runCell, {
    label: trans.__('Run Cell as Job …'),
    caption: trans.__('Run the active cell as a training job on the cluster'),
    icon: kubeflowIcon,
    describedBy: nothing,
    isEnabled: () => current() !== null,
    execute: fromNotebook(false)
  });
  app.commands.addCommand(CommandIDs.runFile, {
    label: trans.__('Run File as Job …'),
    icon: kubeflowIcon,
    describedBy: { args: { type: 'object', properties: { path: { type: 'string', description: 'The script to run' } } } },
    isVisible: args => Boolean(args.path) || chosenScript(browser) !== null,
    execute: args => {
      const path = asText(args.path) || chosenScript(browser);
      return path ? open({ title: PathExt.basename(path), path, folder: PathExt.dirname(path) }, 'tab-after') : undefined;
    }
  });
}

/** The Python file that is selected in the file browser. */
function chosenScript(browser: IFileBrowserFactory | null): string | null {
  const items = browser?.tracker.currentWidget?.selectedItems();
  const first = items?.next();
  const path = first && !first.done ? first.value.path : '';
  return path.endsWith('.py') ? path : null;
}
