/** The renderers of our MIME types: what cells show of jobs is live, and still there without a kernel. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { ReactWidget } from '@jupyterlab/ui-components';
import * as React from 'react';

import { JobCard } from '../components/card';
import { KubeflowProvider } from '../components/context';
import { JobTable } from '../components/record';
import { IKubeflow } from '../tokens';
import type { JobsRecord, JobView, StudyRecord } from '../wire';

export const MIME_JOB = 'application/vnd.jupyterlab-kf.job+json';
export const MIME_JOBS = 'application/vnd.jupyterlab-kf.jobs+json';
export const MIME_STUDY = 'application/vnd.jupyterlab-kf.study+json';
/** Before the renderers of widgets (-10) and of HTML (50), which are in the same bundle for other viewers. */
const RANK = -20;

/** Loaded with the first study that is shown. */
const StudyCard = React.lazy(() => import('../components/study'));

/** What a component makes of the data of our MIME type; nothing where the data is not what it should be. */
type Read = (data: unknown) => React.ReactElement | null;

class Output extends ReactWidget implements IRenderMime.IRenderer {
  constructor(
    private readonly kf: IKubeflow,
    private readonly mime: string,
    private readonly read: Read
  ) {
    super();
    this.addClass('kfx-Output');
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this._body = this.read(model.data[this.mime]) ?? this._body;
    this.update();
    return this.renderPromise ?? Promise.resolve();
  }

  // The same component in the same place: React updates it, so that the pointer and the scroll stay where they are.
  protected override render(): React.ReactElement | null {
    return this._body && React.createElement(KubeflowProvider, { value: this.kf }, this._body);
  }

  private _body: React.ReactElement | null = null;
}

/** Show the data of a MIME type of ours as a component. */
export function addRenderer(kf: IKubeflow, registry: IRenderMimeRegistry, mime: string, read: Read): void {
  registry.addFactory({ safe: true, mimeTypes: [mime], createRenderer: () => new Output(kf, mime, read) }, RANK);
}

export const cells: JupyterFrontEndPlugin<void> = {
  id: 'jupyterlab-kf:cells',
  description: 'Shows jobs in outputs of cells.',
  autoStart: true,
  requires: [IKubeflow, IRenderMimeRegistry],
  activate: (_: JupyterFrontEnd, kf: IKubeflow, registry: IRenderMimeRegistry) => {
    addRenderer(kf, registry, MIME_JOB, data => {
      const view = data as Partial<JobView> | undefined;
      if (!view?.ref) {
        return null;
      }
      kf.remember(view as JobView);
      return React.createElement(JobCard, { recorded: view as JobView });
    });
    addRenderer(kf, registry, MIME_STUDY, data => {
      const recorded = data as Partial<StudyRecord> | undefined;
      if (!recorded?.head || !recorded.trials) {
        return null;
      }
      const card = React.createElement(StudyCard, { recorded: recorded as StudyRecord });
      return React.createElement(React.Suspense, { fallback: React.createElement('div', { 'aria-busy': true }) }, card);
    });
    addRenderer(kf, registry, MIME_JOBS, data => {
      const recorded = data as Partial<JobsRecord> | undefined;
      return recorded?.rows ? React.createElement(JobTable, { recorded: recorded as JobsRecord }) : null;
    });
  }
};
