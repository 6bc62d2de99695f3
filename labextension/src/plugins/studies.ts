/** Studies: their commands, and the view in the main area. */

import { ILayoutRestorer } from '@jupyterlab/application';
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Clipboard, Dialog, ICommandPalette, InputDialog, Notification, showDialog, WidgetTracker } from '@jupyterlab/apputils';
import { INotebookTracker, NotebookActions } from '@jupyterlab/notebook';

import type { Client } from '../client';
import type { StudyPage } from '../components/study';
import { kubeflowIcon } from '../icons';
import { CommandIDs, IKubeflow } from '../tokens';
import type { StudiesFrame, StudyKey } from '../wire';
import { asText, copy, deedsAbout, insert, rowOf } from './deeds';
import type { Args } from './deeds';
import { show } from './showing';

const KEY_SCHEMA = {
  type: 'object',
  properties: {
    namespace: { type: 'string', description: 'The namespace of the study' },
    name: { type: 'string', description: 'Its name; asked for when left out' },
    uid: { type: 'string', description: 'Its uid, to mean that very one' },
    page: { type: 'string', description: 'The page to show: overview, parallel, slices, timeline or trials' },
    trial: { type: 'string', description: 'The name of a trial; the best when left out' },
    number: { type: 'number', description: 'The number of that trial' },
    one: { type: 'boolean', description: 'The trial of the row that the context menu was opened on' },
    ask: { type: 'boolean', description: 'Ask before a trial is ended; as the settings say when left out' },
    trials: { type: 'number', description: 'The budget of trials in all' },
    as: { type: 'string', description: 'What to copy: magic, python, yaml, kubectl or form' }
  }
} as const;
const PAGES: StudyPage[] = ['overview', 'parallel', 'slices', 'timeline', 'trials'];

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

/** The study that a command is about: of its arguments, of the row that the context menu was opened on, or asked for. */
async function studyOf(app: JupyterFrontEnd, kf: IKubeflow, args: Args): Promise<StudyKey | null> {
  if (typeof args.name === 'string') {
    return { namespace: asText(args.namespace), name: args.name, uid: asText(args.uid) };
  }
  const row = rowOf(app, args.one ? 'kfx-TrialRow' : 'kfx-Study');
  if (row?.name) {
    const { namespace = '', name = '', uid = '' } = row;
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
  const deed = deedsAbout(app, KEY_SCHEMA, args => studyOf(app, kf, args));
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
  deed(CommandIDs.resumeStudy, trans.__('Resume Study'), async (key, args) => {
    const [budget, had, given] = [args.budget, args.had, args.trials].map(one => (typeof one === 'number' ? one : 0)) as [number, number, number];
    // Where nothing is left of the budget, it is asked for another.
    const trials = given || (budget && had >= budget ? await askForTrials(kf, key, budget) : 0);
    if (trials || !budget || had < budget) {
      await client.studyDeed(key, 'resume', trials ? { trials } : {});
    }
  });
  deed(CommandIDs.cloneStudy, { label: trans.__('Clone Study …'), caption: trans.__('The form of a study like it, as a new cell') }, async key => {
    const { form, yaml, python } = await client.studyCopies(key);
    if (!form || form.startsWith('#')) {
      const why = (form || python).split('\n')[0]?.replace(/^# /, '') ?? '';
      Clipboard.copyToSystem(yaml);
      Notification.warning(trans.__('It has no form: %1. Its YAML is in the clipboard.', why), { autoClose: 8000 });
    } else if (insert(app, kf, notebooks, form) && notebooks?.currentWidget) {
      const { content, sessionContext } = notebooks.currentWidget;
      void NotebookActions.run(content, sessionContext);
    }
  });
  const trialDeed = deedsAbout(app, KEY_SCHEMA, args => trialOf(app, args));
  trialDeed(CommandIDs.stopTrial, { label: trans.__('Stop Trial …'), caption: trans.__('End one trial; the study goes on') }, async (trial, args) => {
    const asked = typeof args.ask === 'boolean' ? args.ask : kf.preferences.askStopTrial;
    if (!asked || (await sure(kf, trial))) {
      await client.studyDeed(trial.study, 'stop-trial', { trial: trial.name });
    }
  });
  deed(CommandIDs.promoteStudy, trans.__('Train with the Best Parameters'), async (key, args) => {
    const made = await client.promote(key, trialOf(app, args)?.name);
    await app.commands.execute(CommandIDs.openJob, { ...made });
  });
  deed(CommandIDs.insertBest, trans.__('Insert the Best Parameters as Cell'), async (key, args) => {
    const { best } = await client.studyCopies(key, trialOf(app, args)?.name);
    if (best) {
      insert(app, kf, notebooks, best);
    } else {
      Notification.info(trans.__('No trial has a value yet.'), { autoClose: 3000 });
    }
  });
  deed(CommandIDs.copyStudy, trans.__('Copy Study'), async (key, args) => {
    copy(kf, await client.studyCopies(key), args.as);
  });
}

interface TrialKey {
  study: StudyKey;
  name: string;
  number: string;
}

/** The trial that a command is about: of its arguments, or of the row that the context menu was opened on. */
function trialOf(app: JupyterFrontEnd, args: Args): TrialKey | null {
  if (typeof args.name === 'string') {
    const study = { namespace: asText(args.namespace), name: args.name, uid: asText(args.uid) };
    return typeof args.trial === 'string' ? { study, name: args.trial, number: typeof args.number === 'number' ? String(args.number) : args.trial } : null;
  }
  const row = rowOf(app, 'kfx-TrialRow');
  const { name = '', namespace = '', uid = '', trial = '', number = trial } = row ?? {};
  return trial ? { study: { namespace, name, uid }, name: trial, number } : null;
}

/** Whether the user wants a trial to end; can be told not to ask again. */
async function sure(kf: IKubeflow, { study, number }: TrialKey): Promise<boolean> {
  const { trans } = kf;
  const answer = await showDialog({
    title: trans.__('Stop trial %1 of %2?', number, study.name),
    body: trans.__('It ends now. What it reported is kept and is no result. The study goes on; the trial counts as one of its budget and not as a failure.'),
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Stop') })],
    checkbox: { label: trans.__('Do not ask again'), checked: false, caption: trans.__('The settings of Kubeflow can change that.') }
  });
  if (answer.button.accept && answer.isChecked) {
    kf.keep('askStopTrial', false);
  }
  return answer.button.accept;
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
