/** What plugins offer one another. */

import type { IEditorServices } from '@jupyterlab/codeeditor';
import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
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
  /** Ask before a trial of a study is ended. */
  askStopTrial: boolean;
  /** What the button in a notebook's toolbar runs. */
  runAsJob: 'notebook' | 'cell' | 'file';
}

/** Values by name, kept with the layout of JupyterLab where there is a place for them. */
export interface Left {
  fetch(name: string): Promise<unknown>;
  save(name: string, value: unknown): void;
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
  /** Where JupyterLab's own parts get their words from. */
  readonly translator: ITranslator;
  /** JupyterLab's editor, where there is one. */
  readonly editors: IEditorServices | null;
  readonly preferences: Preferences;
  readonly preferencesChanged: ISignal<unknown, Preferences>;
  readonly sections: readonly Section[];
  readonly sectionsChanged: ISignal<unknown, Section>;
  /** Have a preference from now on, also after the page is loaded again. */
  keep<K extends keyof Preferences>(name: K, value: Preferences[K]): void;
  /** What somebody left as it is, such as a filter: found again when the page is loaded again. */
  readonly left: Left;
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
  runAsJob: 'kf:run-as-job',
  runMenu: 'kf:run-as-job-menu',
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
  insertStudy: 'kf:insert-study-cell',
  openStudy: 'kf:open-study',
  stopStudy: 'kf:stop-study',
  stopTrial: 'kf:stop-trial',
  resumeStudy: 'kf:resume-study',
  cloneStudy: 'kf:clone-study',
  extendStudy: 'kf:extend-study',
  promoteStudy: 'kf:promote-study',
  insertBest: 'kf:insert-best-cell',
  copyStudy: 'kf:copy-study',
  startCluster: 'kf:start-cluster',
  useCluster: 'kf:use-cluster',
  openEndpoint: 'kf:open-endpoint',
  copyEndpoint: 'kf:copy-endpoint-url',
  mirrorEndpoint: 'kf:mirror-endpoint',
  removeEndpoint: 'kf:delete-endpoint',
  copyText: 'kf:copy-text'
} as const;
