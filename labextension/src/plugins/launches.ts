/** The ways to the launch form: from the launcher, the palette, a notebook's toolbar, a cell and a file. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, Notification } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { FileDialog, IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker } from '@jupyterlab/notebook';
import { caretDownIcon, MenuSvg } from '@jupyterlab/ui-components';

import { kubeflowIcon } from '../icons';
import { numberOf } from '../notebooks';
import { NO_SOURCE } from '../launching';
import type { Source } from '../launching';
import { CommandIDs, IKubeflow } from '../tokens';
import type { Preferences } from '../tokens';
import { show } from './showing';

type Target = Preferences['runAsJob'];

const RUNNABLE = /\.(py|ipynb)$/;
const COMMANDS: Record<Target, string> = {
  notebook: CommandIDs.runNotebook,
  cell: CommandIDs.runCell,
  file: CommandIDs.runFile
};
const TARGETS: readonly Target[] = ['cell', 'notebook', 'file'];
const NOTHING = { args: { type: 'object', properties: {} } } as const;
const SHORT = {
  short: { type: 'boolean', description: 'For a menu that says already that it is about running a job' }
} as const;

export const launches: JupyterFrontEndPlugin<void> = {
  id: 'jupyterlab-kf:launches',
  description: 'Runs cells, notebooks and files as jobs: the ways to the launch form.',
  autoStart: true,
  requires: [IKubeflow],
  optional: [ICommandPalette, ILauncher, INotebookTracker, IFileBrowserFactory, IDocumentManager],
  activate: (
    app: JupyterFrontEnd,
    kf: IKubeflow,
    palette: ICommandPalette | null,
    launcher: ILauncher | null,
    notebooks: INotebookTracker | null,
    browser: IFileBrowserFactory | null,
    documents: IDocumentManager | null
  ) => {
    const ways = new Ways(app, kf, documents);
    addForm(ways);
    if (notebooks) {
      addNotebooks(ways, notebooks);
      addToolbar(ways, notebooks);
    }
    addFiles(ways, browser);
    const category = kf.trans.__('Kubeflow');
    for (const command of [CommandIDs.launch, CommandIDs.runNotebook, CommandIDs.runCell, CommandIDs.runFile]) {
      palette?.addItem({ command, category, args: { isPalette: true } });
    }
    launcher?.add({ command: CommandIDs.launch, category, rank: 1 });
  }
};

/** What all ways to the form share. */
class Ways {
  constructor(
    readonly app: JupyterFrontEnd,
    readonly kf: IKubeflow,
    readonly documents: IDocumentManager | null
  ) {}

  /** Show the form for some code. */
  async open(source: Partial<Source>, mode: 'tab-after' | 'split-right'): Promise<void> {
    const { LaunchPanel } = await import('../panels/launch');
    const panel = new LaunchPanel(this.kf, { ...NO_SOURCE, ...source });
    show(this.app, panel, mode);
  }

  /** Show the form for a script or a notebook, saved before it is read: the job runs what is on the screen. */
  async openFile(path: string, mode: 'tab-after' | 'split-right', sample = ''): Promise<void> {
    const prepare = () => this.save(path);
    try {
      await prepare();
    } catch {
      return; // the dialog of the document has said why
    }
    const local = this.app.serviceManager.contents.localPath(path);
    await this.open({ title: PathExt.basename(local), path: local, folder: PathExt.dirname(local), sample, prepare }, mode);
  }

  private async save(path: string): Promise<void> {
    const widget = this.documents?.findWidget(path, null);
    const context = widget ? this.documents?.contextForWidget(widget) : undefined;
    if (context?.model.dirty) {
      await context.save();
    }
  }
}

function addForm(ways: Ways): void {
  const { app, kf } = ways;
  const { trans } = kf;
  app.commands.addCommand(CommandIDs.launch, {
    label: args => (args.isPalette ? trans.__('New Training Job') : trans.__('Training job')),
    caption: trans.__('Launch a distributed training job'),
    icon: kubeflowIcon,
    describedBy: NOTHING,
    execute: () => ways.open({}, 'tab-after')
  });
}

function addNotebooks(ways: Ways, notebooks: INotebookTracker): void {
  const { app, kf } = ways;
  const { trans } = kf;
  const { commands } = app;
  const codeCell = () => (notebooks.activeCell?.model.type === 'code' ? notebooks.activeCell : null);
  commands.addCommand(CommandIDs.runNotebook, {
    label: args => (args.short ? trans.__('This Notebook') : trans.__('Run Notebook as Job …')),
    caption: trans.__('Run all cells of this notebook as a training job on the cluster'),
    icon: args => (args.short ? undefined : kubeflowIcon),
    describedBy: { args: { type: 'object', properties: SHORT } },
    isEnabled: () => notebooks.currentWidget !== null,
    isToggled: args => Boolean(args.short) && kf.preferences.runAsJob === 'notebook',
    execute: () => {
      const panel = notebooks.currentWidget;
      const cells = panel?.content.widgets.filter(cell => cell.model.type === 'code') ?? [];
      const sample = cells.map(cell => cell.model.sharedModel.getSource()).join('\n');
      return panel ? ways.openFile(panel.context.path, 'split-right', sample) : undefined;
    }
  });
  commands.addCommand(CommandIDs.runCell, {
    label: args => (args.short ? trans.__('This Cell') : trans.__('Run Cell as Job …')),
    caption: trans.__('Run the active cell as a training job on the cluster'),
    icon: args => (args.short ? undefined : kubeflowIcon),
    describedBy: { args: { type: 'object', properties: SHORT } },
    isEnabled: () => codeCell() !== null,
    isToggled: args => Boolean(args.short) && kf.preferences.runAsJob === 'cell',
    execute: () => {
      const panel = notebooks.currentWidget;
      const cell = codeCell();
      if (!panel || !cell) {
        Notification.info(trans.__('Choose a cell with code first.'), { autoClose: 4000 });
        return undefined;
      }
      const cells = panel.content.widgets.filter(one => one.model.type === 'code');
      const number = numberOf(cells.map(one => one.model.sharedModel.getSource()), cells.indexOf(cell));
      const path = app.serviceManager.contents.localPath(panel.context.path);
      const filename = `${PathExt.basename(path)} cell ${number}`;
      const title = trans.__('cell %1 of %2', number, PathExt.basename(path));
      const code = cell.model.sharedModel.getSource();
      return ways.open({ title, code, folder: PathExt.dirname(path), filename }, 'split-right');
    }
  });
}

/** The button of a notebook's toolbar, and the menu beside it that says what the button runs. */
function addToolbar(ways: Ways, notebooks: INotebookTracker): void {
  const { app, kf } = ways;
  const { trans } = kf;
  const { commands } = app;
  const captions: Record<Target, string> = {
    notebook: trans.__('Run this notebook as a job'),
    cell: trans.__('Run this cell as a job'),
    file: trans.__('Run a file as a job')
  };
  commands.addCommand(CommandIDs.runAsJob, {
    label: trans.__('Run as Job'),
    caption: () => captions[kf.preferences.runAsJob],
    icon: kubeflowIcon,
    describedBy: NOTHING,
    isEnabled: () => notebooks.currentWidget !== null,
    execute: () => commands.execute(COMMANDS[kf.preferences.runAsJob])
  });
  kf.preferencesChanged.connect(() => commands.notifyCommandChanged(CommandIDs.runAsJob));
  commands.addCommand(CommandIDs.runMenu, {
    label: trans.__('Run as Job: What'),
    caption: trans.__('Choose what to run as a job: this cell, this notebook or a file'),
    icon: caretDownIcon,
    describedBy: NOTHING,
    isEnabled: () => notebooks.currentWidget !== null,
    execute: () => {
      const button = notebooks.currentWidget?.toolbar.node.querySelector('[data-jp-item-name="kf-run-menu"]');
      const { left, bottom } = (button ?? app.shell.node).getBoundingClientRect();
      focused = document.activeElement;
      menu.open(left, bottom);
      menu.activeIndex = TARGETS.indexOf(kf.preferences.runAsJob);
    }
  });
  let focused: Element | null = null;
  const menu = new MenuSvg({ commands });
  for (const target of TARGETS) {
    menu.addItem({ command: COMMANDS[target], args: { short: true } });
  }
  menu.aboutToClose.connect(() => {
    if (focused instanceof HTMLElement) {
      focused.focus();
    }
  });
  // What was chosen is what the button does from now on.
  commands.commandExecuted.connect((_, { id, args }) => {
    const target = TARGETS.find(one => COMMANDS[one] === id);
    if (target && args.short) {
      kf.keep('runAsJob', target);
    }
  });
}

function addFiles(ways: Ways, browser: IFileBrowserFactory | null): void {
  const { app, kf, documents } = ways;
  const { trans } = kf;
  const chosen = (): string | null => {
    const first = browser?.tracker.currentWidget?.selectedItems().next();
    return first && !first.done && RUNNABLE.test(first.value.path) ? first.value.path : null;
  };
  // The script that is in front of the user.
  const edited = (): string | null => {
    const widget = app.shell.currentWidget;
    const path = widget && documents?.contextForWidget(widget)?.path;
    return path?.endsWith('.py') ? path : null;
  };
  app.commands.addCommand(CommandIDs.runFile, {
    label: args =>
      args.short ? trans.__('A File …') : args.chosen ? trans.__('Run as Job …') : trans.__('Run File as Job …'),
    caption: trans.__('Run a Python script or a notebook as a training job on the cluster'),
    icon: args => (args.short ? undefined : kubeflowIcon),
    describedBy: {
      args: {
        type: 'object',
        properties: {
          ...SHORT,
          path: {
            type: 'string',
            description: 'The script or notebook to run; when left out the script that is being edited, else one that is asked for'
          },
          chosen: { type: 'boolean', description: 'Run the one that is chosen in the file browser' }
        }
      }
    },
    isVisible: args => !args.chosen || chosen() !== null,
    isToggled: args => Boolean(args.short) && kf.preferences.runAsJob === 'file',
    execute: async args => {
      const named = typeof args.path === 'string' ? args.path : args.chosen ? chosen() : args.short ? null : edited();
      const path = named ?? (documents && (await askForFile(kf, documents)));
      return path ? ways.openFile(path, 'tab-after') : undefined;
    }
  });
}

/** The script or notebook that the user picks, or nothing. */
async function askForFile({ trans, translator }: IKubeflow, manager: IDocumentManager): Promise<string | null> {
  const answer = await FileDialog.getOpenFiles({
    manager,
    translator,
    title: trans.__('Run which file as a job?'),
    filter: model => (model.type === 'directory' || RUNNABLE.test(model.path) ? {} : null)
  });
  const path = answer.value?.[0]?.path ?? '';
  return answer.button.accept && RUNNABLE.test(path) ? path : null;
}
