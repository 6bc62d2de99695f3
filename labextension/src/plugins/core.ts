/** The plugin that all others build on: the client, the settings, and what is remembered of jobs. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IEditorServices } from '@jupyterlab/codeeditor';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStateDB } from '@jupyterlab/statedb';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';

import { Client } from '../client';
import { studiesSection, trainingSection } from '../panels/side';
import { IKubeflow } from '../tokens';
import type { Left, Preferences, Section } from '../tokens';
import type { JobKey, JobView } from '../wire';

const MOST_REMEMBERED = 100;
export const DEFAULTS: Preferences = { notify: 'all', statusBar: true, grouped: false, sort: 'created', askStopTrial: true, runAsJob: 'notebook' };

class Kubeflow implements IKubeflow {
  constructor(
    private readonly app: JupyterFrontEnd,
    readonly translator: ITranslator,
    readonly editors: IKubeflow['editors'],
    readonly left: Left
  ) {
    this.trans = translator.load('jupyterlab_kf');
    this.client = new Client(app.serviceManager.serverSettings);
  }

  readonly trans: IKubeflow['trans'];
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

  keep<K extends keyof Preferences>(name: K, value: Preferences[K]): void {
    this.prefer({ ...this.preferences, [name]: value });
    void this.settings?.set(name, value);
  }

  settings: ISettingRegistry.ISettings | null = null;

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

/** Not the namespace of a tracker: one removes from its own what is no widget. */
const PLACE = 'jupyterlab-kf-left';

/** What is left is kept in Lab's database of states; in memory where there is none. */
function leftIn(states: IStateDB | null): Left {
  const memory = new Map<string, unknown>();
  return {
    fetch: name => (states ? states.fetch(`${PLACE}:${name}`) : Promise.resolve(memory.get(name))),
    save: (name, value) => {
      memory.set(name, value);
      void states?.save(`${PLACE}:${name}`, value as never);
    }
  };
}

export const core: JupyterFrontEndPlugin<IKubeflow> = {
  id: 'jupyterlab-kf:plugin',
  description: 'The client to the cluster, shared by all parts.',
  autoStart: true,
  provides: IKubeflow,
  optional: [ITranslator, ISettingRegistry, IEditorServices, IStateDB],
  activate: (
    app: JupyterFrontEnd,
    translator: ITranslator | null,
    registry: ISettingRegistry | null,
    editors: IEditorServices | null,
    states: IStateDB | null
  ): IKubeflow => {
    const kf = new Kubeflow(app, translator ?? nullTranslator, editors, leftIn(states));
    kf.addSection(trainingSection(kf));
    kf.addSection(studiesSection(kf));
    if (registry) {
      registry.load(core.id).then(
        settings => {
          const read = () => kf.prefer({ ...DEFAULTS, ...(settings.composite as Partial<Preferences>) });
          kf.settings = settings;
          settings.changed.connect(read);
          read();
        },
        (reason: unknown) => console.warn('jupyterlab-kf: the settings cannot be read', reason)
      );
    }
    return kf;
  }
};
