/** Where jobs are seen without being looked for: side panel, status bar, Running panel, notifications. */

import { ILayoutRestorer } from '@jupyterlab/application';
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import { IRunningSessionManagers } from '@jupyterlab/running';
import type { IRunningSessions } from '@jupyterlab/running';
import { IStatusBar } from '@jupyterlab/statusbar';
import { Signal } from '@lumino/signaling';
import * as React from 'react';

import { QUERY } from '../client';
import type { Client } from '../client';
import { StatusItem } from '../components/status';
import { phaseWord } from '../components/words';
import { kubeflowIcon } from '../icons';
import { frameworkTitle, isGroup, keyOf } from '../model';
import { KubeflowPanel, widgetOf } from '../panels/side';
import { CommandIDs, IKubeflow } from '../tokens';
import type { JobRow } from '../wire';

export const panel: JupyterFrontEndPlugin<void> = {
  id: 'jupyterlab-kf:panel',
  description: 'The side panel.',
  autoStart: true,
  requires: [IKubeflow],
  optional: [ILayoutRestorer],
  activate: (app: JupyterFrontEnd, kf: IKubeflow, restorer: ILayoutRestorer | null) => {
    const side = new KubeflowPanel(kf);
    restorer?.add(side, 'kf-panel');
    app.shell.add(side, 'left', { rank: 900, type: 'Kubeflow' });
    app.commands.addCommand(CommandIDs.panel, {
      label: kf.trans.__('Show Kubeflow Panel'),
      icon: kubeflowIcon,
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => app.shell.activateById(side.id)
    });
  }
};

/** The jobs that are under way, for those who only want these. Begins to look when Lab has come up. */
class Active {
  constructor(app: JupyterFrontEnd, client: Client) {
    void app.restored.then(() => {
      const phases = ['Running', 'Pending', 'Restarting'];
      client.rows({ ...QUERY, phases, limit: 100 }, state => {
        this.rows = state.items.filter((item): item is JobRow => !isGroup(item));
        this.changed.emit();
      });
    });
  }

  rows: JobRow[] = [];
  readonly changed = new Signal<this, void>(this);
}

export const running: JupyterFrontEndPlugin<void> = {
  id: 'jupyterlab-kf:running',
  description: 'Jobs under way in the Running panel.',
  autoStart: true,
  requires: [IKubeflow],
  optional: [IRunningSessionManagers],
  activate: (app: JupyterFrontEnd, kf: IKubeflow, managers: IRunningSessionManagers | null) => {
    if (!managers) {
      return;
    }
    const { trans } = kf;
    const active = new Active(app, kf.client);
    const stop = (row: JobRow) =>
      kf.execute(row.kind === 'ChainerJob' ? CommandIDs.remove : CommandIDs.suspend, { ...keyOf(row) });
    const item = (row: JobRow): IRunningSessions.IRunningItem => ({
      open: () => kf.execute(CommandIDs.openJob, { ...keyOf(row) }),
      shutdown: () => stop(row),
      icon: () => kubeflowIcon,
      label: () => row.name,
      labelTitle: () => `${row.kind} ${row.namespace}/${row.name}`,
      detail: () => `${phaseWord(trans, row.phase)} · ${frameworkTitle(row.framework)}`
    });
    managers.add({
      name: trans.__('Training jobs'),
      running: () => active.rows.map(item),
      shutdownAll: () => active.rows.forEach(stop),
      refreshRunning: () => undefined,
      runningChanged: active.changed,
      shutdownLabel: trans.__('Stop'),
      shutdownAllLabel: trans.__('Stop All'),
      shutdownAllConfirmationText: trans.__('Stop all training jobs? They can be resumed.')
    });
  }
};

export const status: JupyterFrontEndPlugin<void> = {
  id: 'jupyterlab-kf:status',
  description: 'How many jobs run, in the status bar.',
  autoStart: true,
  requires: [IKubeflow],
  optional: [IStatusBar],
  activate: (app: JupyterFrontEnd, kf: IKubeflow, bar: IStatusBar | null) => {
    if (!bar) {
      return;
    }
    void app.restored.then(() => {
      const item = widgetOf(kf, React.createElement(StatusItem));
      item.addClass('kfx-StatusItem');
      bar.registerStatusItem('jupyterlab-kf:status', { item, align: 'left', rank: 60 });
    });
  }
};

export const notices: JupyterFrontEndPlugin<void> = {
  id: 'jupyterlab-kf:notifications',
  description: 'Tells when a job has ended.',
  autoStart: true,
  requires: [IKubeflow],
  activate: (_: JupyterFrontEnd, kf: IKubeflow) => {
    const { trans } = kf;
    kf.client.ended.connect((__, row) => {
      const failed = row.phase === 'Failed';
      if (kf.preferences.notify === 'none' || (kf.preferences.notify === 'failures' && !failed)) {
        return;
      }
      const actions: Notification.IAction[] = [
        { label: trans.__('Open'), callback: () => kf.execute(CommandIDs.openJob, { ...keyOf(row) }) }
      ];
      if (failed) {
        actions.push({ label: trans.__('Log'), callback: () => kf.execute(CommandIDs.openJob, { ...keyOf(row), tab: 'logs' }) });
        Notification.error(trans.__('Job %1 failed', row.name), { actions, autoClose: 12_000 });
      } else {
        Notification.success(trans.__('Job %1 succeeded', row.name), { actions, autoClose: 6000 });
      }
    });
  }
};
