/** The renderer of our MIME type: what cells show of jobs is live, and still there without a kernel. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { ReactWidget } from '@jupyterlab/ui-components';
import * as React from 'react';

import { JobCard } from '../components/card';
import { KubeflowProvider } from '../components/context';
import { IKubeflow } from '../tokens';
import type { JobView } from '../wire';

export const MIME_JOB = 'application/vnd.jupyterlab-kf.job+json';
/** Before the renderers of widgets (-10) and of HTML (50), which are in the same bundle for other viewers. */
const RANK = -20;

class JobOutput extends ReactWidget implements IRenderMime.IRenderer {
  constructor(private readonly kf: IKubeflow) {
    super();
    this.addClass('kfx-Output');
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const view = model.data[MIME_JOB] as unknown as JobView | undefined;
    if (view?.ref) {
      this.kf.remember(view);
      this._view = view;
      this.update();
    }
    return this.renderPromise ?? Promise.resolve();
  }

  // The same component in the same place: React updates it, so that the pointer and the scroll stay where they are.
  protected override render(): React.ReactElement | null {
    return (
      this._view &&
      React.createElement(KubeflowProvider, { value: this.kf }, React.createElement(JobCard, { recorded: this._view }))
    );
  }

  private _view: JobView | null = null;
}

export const cells: JupyterFrontEndPlugin<void> = {
  id: 'jupyterlab-kf:cells',
  description: 'Shows jobs in outputs of cells.',
  autoStart: true,
  requires: [IKubeflow, IRenderMimeRegistry],
  activate: (_: JupyterFrontEnd, kf: IKubeflow, registry: IRenderMimeRegistry) => {
    registry.addFactory({ safe: true, mimeTypes: [MIME_JOB], createRenderer: () => new JobOutput(kf) }, RANK);
  }
};
