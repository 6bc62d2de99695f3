/** Commands first: everything that can be clicked is a command, with a label, an icon and a schema of its arguments. */

import { ILayoutRestorer } from '@jupyterlab/application';
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, ICommandPalette, InputDialog, Notification, showDialog, WidgetTracker } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';

import { kubeflowIcon } from '../icons';
import { sourceOf } from '../launching';
import { CommandIDs, IKubeflow } from '../tokens';
import type { JobTab } from '../tokens';
import type { JobKey } from '../wire';
import { asText, copy, deedsAbout, insert, rowOf, tell } from './deeds';
import type { Args } from './deeds';
import { show } from './showing';

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

export const commands: JupyterFrontEndPlugin<void> = {
  id: 'jupyterlab-kf:commands',
  description: 'Commands, their places in palette and menus, and the main-area views.',
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
    addViews(app, kf, restorer);
    addDeeds(app, kf, notebooks);
    addClusters(app, kf);
    const category = kf.trans.__('Kubeflow');
    if (palette) {
      for (const command of [CommandIDs.panel, CommandIDs.startCluster, CommandIDs.useCluster]) {
        palette.addItem({ command, category });
      }
    }
  }
};

/** The job that a command is about: of its arguments, or the row that the context menu was opened on. */
function jobOf(app: JupyterFrontEnd, args: Args): JobKey | null {
  if (typeof args.kind === 'string' && typeof args.name === 'string') {
    const { kind, name } = args;
    return { kind, name, namespace: asText(args.namespace), uid: asText(args.uid) };
  }
  const row = rowOf(app, 'kfx-JobRow');
  if (!row) {
    return null;
  }
  const { kind = '', namespace = '', name = '', uid = '' } = row;
  return { kind, namespace, name, uid };
}

function addViews(app: JupyterFrontEnd, kf: IKubeflow, restorer: ILayoutRestorer | null): void {
  const { trans } = kf;
  type JobPanel = import('../panels/job/index').JobPanel;
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
      const { JobPanel, panelId } = await import('../panels/job/index');
      const wish = { tab: (asText(args.tab) || 'overview') as JobTab, replica: asText(args.replica) };
      let panel = tracker.find(one => one.id === panelId(key) && (!key.uid || !one.key.uid || one.key.uid === key.uid));
      if (panel) {
        if (args.tab) {
          panel.turn(wish);
        }
      } else {
        tracker.find(one => one.id === panelId(key))?.dispose();
        panel = new JobPanel(kf, key, wish);
        panel.turned.connect(turned => void tracker.save(turned));
        show(app, panel);
        await tracker.add(panel);
      }
      app.shell.activateById(panel.id);
    }
  });
  if (restorer) {
    void restorer.restore(tracker, {
      command: CommandIDs.openJob,
      args: panel => ({ ...panel.key, ...panel.wish }),
      name: panel => panel.id
    });
  }
}

function addDeeds(app: JupyterFrontEnd, kf: IKubeflow, notebooks: INotebookTracker | null): void {
  const { client, trans } = kf;
  const about = deedsAbout(app, KEY_SCHEMA, args => jobOf(app, args));
  const deed = (
    id: string,
    label: string,
    act: (key: JobKey, args: Args) => Promise<void>,
    visible: (phase: string, kind: string) => boolean = () => true
  ) => {
    const isVisible = (args: Args) => {
      const row = args.kind ? undefined : rowOf(app, 'kfx-JobRow');
      return !row || visible(row.phase ?? '', row.kind ?? '');
    };
    about(id, { label, isVisible }, act);
  };
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
    const { LaunchPanel } = await import('../panels/launch');
    const panel = new LaunchPanel(kf, sourceOf(key.name, await client.form(key)));
    show(app, panel);
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
    copy(kf, await client.copies(key), args.as);
  });
  deed(CommandIDs.insertCell, trans.__('Insert Job as Cell'), async key => {
    insert(app, kf, notebooks, (await client.copies(key)).magic);
  });
  app.commands.addCommand(CommandIDs.insertStudy, {
    label: trans.__('Show Study in a Cell'),
    describedBy: {
      args: {
        type: 'object',
        properties: {
          name: { type: 'string', description: 'The name of the study' },
          namespace: { type: 'string', description: 'Its namespace' }
        }
      }
    },
    execute: args => {
      const [name, namespace] = [asText(args.name), asText(args.namespace)].map(text => JSON.stringify(text));
      insert(app, kf, notebooks, `import jupyterlab_kf as kf\n\nkf.study(${name ?? ''}, namespace=${namespace ?? ''})`);
    }
  });
}

function addClusters(app: JupyterFrontEnd, kf: IKubeflow): void {
  const { client, trans } = kf;
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
  app.commands.addCommand(CommandIDs.useCluster, {
    label: trans.__('Change Cluster …'),
    caption: trans.__('Look at the jobs of another cluster'),
    icon: kubeflowIcon,
    describedBy: {
      args: {
        type: 'object',
        properties: {
          context: { type: 'string', description: 'The name of a context of the kubeconfig, or embedded; asked for when left out' },
          namespace: { type: 'string', description: 'Where new jobs go; the cluster decides when left out' }
        }
      }
    },
    execute: async args => {
      const context = asText(args.context) || (await askForContext(kf));
      if (!context) {
        return;
      }
      try {
        const { name } = await client.use(context, asText(args.namespace));
        Notification.success(trans.__('Showing the jobs of %1.', name), { autoClose: 2000 });
      } catch (error) {
        tell(error);
      }
    }
  });
}

/** The name of the cluster that the user picks, or nothing. */
async function askForContext(kf: IKubeflow): Promise<string> {
  const { trans } = kf;
  const { contexts, current } = await kf.client.contexts();
  const labels = contexts.map(one => [one.name, one.namespace, one.server].filter(Boolean).join(' · '));
  const answer = await InputDialog.getItem({
    title: trans.__('Which cluster?'),
    label: trans.__('The jobs of one cluster are shown at a time. What runs on another goes on.'),
    items: labels,
    current: Math.max(0, contexts.findIndex(one => one.name === current)),
    okLabel: trans.__('Use')
  });
  const place = answer.button.accept && answer.value !== null ? labels.indexOf(answer.value) : -1;
  return contexts[place]?.name ?? '';
}
