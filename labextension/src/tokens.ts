/** What plugins offer one another. */

import type { TranslationBundle } from '@jupyterlab/translation';
import { Token } from '@lumino/coreutils';
import type { ISignal } from '@lumino/signaling';
import type { Widget } from '@lumino/widgets';

import type { Client } from './client';
import type { JobKey, JobView } from './wire';

/** The settings of the extension, as its schema has them. */
export interface Preferences {
  notify: 'all' | 'failures' | 'none';
  statusBar: boolean;
  grouped: boolean;
  sort: string;
}

/** A section of the side panel. */
export interface Section {
  id: string;
  rank: number;
  create(): Widget;
}

/** Which page of a job's view. */
export type JobTab = 'overview' | 'logs' | 'metrics' | 'events' | 'code' | 'yaml';

/** What every part of the extension is given. */
export interface IKubeflow {
  readonly client: Client;
  readonly trans: TranslationBundle;
  readonly preferences: Preferences;
  readonly preferencesChanged: ISignal<unknown, Preferences>;
  readonly sections: readonly Section[];
  readonly sectionsChanged: ISignal<unknown, Section>;
  /** Add a section to the side panel. */
  addSection(section: Section): void;
  /** Run one of our commands. */
  execute(command: string, args?: object): void;
  /** The newest view that any part has been shown of a job, to begin with. */
  recall(key: JobKey): JobView | null;
  remember(view: JobView): void;
}

export const IKubeflow = new Token<IKubeflow>(
  'jupyterlab-kf:IKubeflow',
  'Jobs, studies and services on the cluster: the client, and the sections of the side panel.'
);

export const CommandIDs = {
  panel: 'kf:open-panel',
  openJob: 'kf:open-job',
  launch: 'kf:launch',
  runNotebook: 'kf:run-notebook',
  runCell: 'kf:run-cell',
  runFile: 'kf:run-file',
  suspend: 'kf:suspend-job',
  resume: 'kf:resume-job',
  rerun: 'kf:rerun-job',
  clone: 'kf:clone-job',
  remove: 'kf:delete-job',
  copyAs: 'kf:copy-job',
  insertCell: 'kf:insert-job-cell',
  startCluster: 'kf:start-cluster'
} as const;
