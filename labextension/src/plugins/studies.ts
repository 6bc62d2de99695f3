/** Studies: their commands, and the view in the main area. */

import { ILayoutRestorer } from '@jupyterlab/application';
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Clipboard, ICommandPalette, InputDialog, Notification, WidgetTracker } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';

import type { Client } from '../client';
import type { StudyPage } from '../components/study';
import { kubeflowIcon } from '../icons';
import { CommandIDs, IKubeflow } from '../tokens';
import type { StudiesFrame, StudyCopies, StudyKey } from '../wire';
import { insert, tell } from './deeds';
import { show } from './showing';

const KEY_SCHEMA = {
  type: 'object',
  properties: {
    namespace: { type: 'string', description: 'The namespace of the study' },
    name: { type: 'string', description: 'Its name; asked for when left out' },
    uid: { type: 'string', description: 'Its uid, to mean that very one' },
    page: { type: 'string', description: 'The page to show: overview, parallel, slices or trials' },
    trial: { type: 'string', description: 'The name of a trial; the best when left out' },
    trials: { type: 'number', description: 'The budget of trials in all' },
    as: { type: 'string', description: 'What to copy: magic, python, yaml or kubectl' }
  }
} as const;
const PAGES: StudyPage[] = ['overview', 'parallel', 'slices', 'trials'];

type Args = Record<string, unknown>;

export const studies: JupyterFrontEndPlugin<void> = {
  id: 'jupyterlab-kf:studies',
  description: 'Studies: their commands, and the view in the main area.',
  autoStart: true,
  requires: [IKubeflow],
  optional: [ICommandPalette, ILayoutRestorer, INotebookTracker],
  activate: (
    app: JupyterFrontEnd,
    kf: IKubeflow,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    notebooks: INotebookTracker | null
  ) => {
    addView(app, kf, restorer);
    addDeeds(app, kf, notebooks);
    palette?.addItem({ command: CommandIDs.openStudy, category: kf.trans.__('Kubeflow') });
  }
};

function asText(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** The study that a command is about: of its arguments, of the row that the context menu was opened on, or asked for. */
async function studyOf(app: JupyterFrontEnd, kf: IKubeflow, args: Args): Promise<StudyKey | null> {
  if (typeof args.name === 'string') {
    return { namespace: asText(args.namespace), name: args.name, uid: asText(args.uid) };
  }
  const row = app.contextMenuHitTest(node => node.classList.contains('kfx-Study'));
  if (row?.dataset.name) {
    const { namespace = '', name = '', uid = '' } = row.dataset;
    return { namespace, name, uid };
  }
  return ask(kf);
}

/** The study that the user picks, or nothing. */
async function ask(kf: IKubeflow): Promise<StudyKey | null> {
  const { trans } = kf;
  const { rows } = await known(kf.client);
  if (!rows.length) {
    Notification.info(trans.__('There are no studies yet.'), { autoClose: 3000 });
    return null;
  }
  const labels = rows.map(row => `${row.namespace}/${row.name}`);
  const answer = await InputDialog.getItem({ title: trans.__('Which study?'), items: labels, okLabel: trans.__('Open') });
  const row = answer.button.accept ? rows[labels.indexOf(answer.value ?? '')] : undefined;
  return row ? { namespace: row.namespace, name: row.name, uid: row.uid } : null;
}

function known(client: Client): Promise<StudiesFrame> {
  return new Promise(resolve => {
    const watch = client.studies(frame => {
      resolve(frame);
      window.setTimeout(() => watch.dispose());
    });
  });
}

function addView(app: JupyterFrontEnd, kf: IKubeflow, restorer: ILayoutRestorer | null): void {
  type StudyPanel = import('../panels/study').StudyPanel;
  const tracker = new WidgetTracker<StudyPanel>({ namespace: 'jupyterlab-kf-studies' });
  app.commands.addCommand(CommandIDs.openStudy, {
    label: args => (args.isPalette ? kf.trans.__('Open Study …') : kf.trans.__('Open Study')),
    caption: kf.trans.__('Show the trials of a study, its best so far and what matters'),
    icon: kubeflowIcon,
    describedBy: { args: KEY_SCHEMA },
    execute: async args => {
      const key = await studyOf(app, kf, args);
      if (!key) {
        return;
      }
      const { StudyPanel, studyId } = await import('../panels/study');
      const open = tracker.find(one => one.id === studyId(key));
      if (open && (!key.uid || !open.key.uid || open.key.uid === key.uid)) {
        app.shell.activateById(open.id);
        return;
      }
      open?.dispose();
      const panel = new StudyPanel(kf, key, PAGES.find(page => page === args.page) ?? 'overview');
      panel.turned.connect(turned => void tracker.save(turned));
      show(app, panel);
      await tracker.add(panel);
    }
  });
  if (restorer) {
    void restorer.restore(tracker, {
      command: CommandIDs.openStudy,
      args: panel => ({ ...panel.key, page: panel.page }),
      name: panel => panel.id
    });
  }
}

function addDeeds(app: JupyterFrontEnd, kf: IKubeflow, notebooks: INotebookTracker | null): void {
  const { client, trans } = kf;
  const deed = (id: string, label: string, act: (key: StudyKey, args: Args) => Promise<void>) =>
    app.commands.addCommand(id, {
      label,
      describedBy: { args: KEY_SCHEMA },
      execute: async args => {
        try {
          const key = await studyOf(app, kf, args);
          if (key) {
            await act(key, args);
          }
        } catch (error) {
          tell(error);
        }
      }
    });
  deed(CommandIDs.stopStudy, trans.__('Stop Study'), async key => {
    await client.studyDeed(key, 'stop');
  });
  deed(CommandIDs.extendStudy, trans.__('Extend Study …'), async (key, args) => {
    const budget = typeof args.budget === 'number' ? args.budget : 0;
    const trials = typeof args.trials === 'number' ? args.trials : await askForTrials(kf, key, budget);
    if (trials) {
      await client.studyDeed(key, 'extend', { trials });
    }
  });
  deed(CommandIDs.promoteStudy, trans.__('Train with the Best Parameters'), async (key, args) => {
    const made = await client.promote(key, asText(args.trial));
    await app.commands.execute(CommandIDs.openJob, { ...made });
  });
  deed(CommandIDs.insertBest, trans.__('Insert the Best Parameters as Cell'), async (key, args) => {
    const { best } = await client.studyCopies(key, asText(args.trial));
    if (best) {
      insert(app, kf, notebooks, best);
    } else {
      Notification.info(trans.__('No trial has a value yet.'), { autoClose: 3000 });
    }
  });
  deed(CommandIDs.copyStudy, trans.__('Copy Study'), async (key, args) => {
    const copies = await client.studyCopies(key);
    Clipboard.copyToSystem(copies[(asText(args.as) || 'yaml') as keyof StudyCopies]);
    Notification.info(trans.__('Copied.'), { autoClose: 1500 });
  });
}

/** How many trials it may have in all, or nothing. */
async function askForTrials({ trans }: IKubeflow, key: StudyKey, budget: number): Promise<number> {
  const answer = await InputDialog.getNumber({
    title: trans.__('Extend %1', key.name),
    label: trans.__('Trials in all, those that it has had among them'),
    value: budget ? budget + Math.max(1, Math.round(budget / 2)) : 20,
    okLabel: trans.__('Extend')
  });
  return answer.button.accept ? Math.round(answer.value ?? 0) : 0;
}
