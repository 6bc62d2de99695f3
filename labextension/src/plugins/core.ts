/** The plugin that all others build on: the client, the settings, and what is remembered of jobs. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';

import { Client } from '../client';
import { trainingSection } from '../panels/side';
import { IKubeflow } from '../tokens';
import type { Preferences, Section } from '../tokens';
import type { JobKey, JobView } from '../wire';

const MOST_REMEMBERED = 100;
export const DEFAULTS: Preferences = { notify: 'all', statusBar: true, grouped: false, sort: 'created' };

class Kubeflow implements IKubeflow {
  constructor(
    private readonly app: JupyterFrontEnd,
    readonly trans: IKubeflow['trans']
  ) {
    this.client = new Client(app.serviceManager.serverSettings);
  }

  readonly client: Client;
  preferences = DEFAULTS;
  readonly preferencesChanged = new Signal<unknown, Preferences>(this);
  readonly sections: Section[] = [];
  readonly sectionsChanged = new Signal<unknown, Section>(this);

  addSection(section: Section): void {
    this.sections.push(section);
    this.sectionsChanged.emit(section);
  }

  execute(command: string, args: object = {}): void {
    void this.app.commands.execute(command, args as never);
  }

  prefer(preferences: Preferences): void {
    this.preferences = preferences;
    this.preferencesChanged.emit(preferences);
  }

  recall(key: JobKey): JobView | null {
    const view = this._views.get(`${key.kind}/${key.namespace}/${key.name}`);
    return view && (!key.uid || view.ref.uid === key.uid) ? view : null;
  }

  remember(view: JobView): void {
    const text = `${view.ref.kind}/${view.ref.namespace}/${view.ref.name}`;
    this._views.delete(text);
    this._views.set(text, view);
    for (const oldest of this._views.keys()) {
      if (this._views.size <= MOST_REMEMBERED) {
        break;
      }
      this._views.delete(oldest);
    }
  }

  private readonly _views = new Map<string, JobView>();
}

export const core: JupyterFrontEndPlugin<IKubeflow> = {
  id: 'jupyterlab-kf:plugin',
  description: 'The client to the cluster, shared by all parts.',
  autoStart: true,
  provides: IKubeflow,
  optional: [ITranslator, ISettingRegistry],
  activate: (app: JupyterFrontEnd, translator: ITranslator | null, registry: ISettingRegistry | null): IKubeflow => {
    const trans = (translator ?? nullTranslator).load('jupyterlab_kf');
    const kf = new Kubeflow(app, trans);
    kf.addSection(trainingSection(kf));
    if (registry) {
      registry.load(core.id).then(
        settings => {
          const read = () => kf.prefer({ ...DEFAULTS, ...(settings.composite as Partial<Preferences>) });
          settings.changed.connect(read);
          read();
        },
        (reason: unknown) => console.warn('jupyterlab-kf: the settings cannot be read', reason)
      );
    }
    return kf;
  }
};
