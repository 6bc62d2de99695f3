/** A job in the main area: its head, its actions, and its pages, each in a module of its own. */

import { MainAreaWidget } from '@jupyterlab/apputils';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';
import * as React from 'react';

import { useJob, useKubeflow } from '../../components/context';
import { Log } from '../../components/log';
import { Badge, Elapsed, FrameworkMark, phaseClass, Progress } from '../../components/parts';
import { kubeflowIcon } from '../../icons';
import { frameworkTitle } from '../../model';
import type { IKubeflow, JobTab } from '../../tokens';
import type { JobKey } from '../../wire';
import { widgetOf } from '../side';
import { Actions } from './actions';
import { Code } from './code';
import { Events } from './events';
import { Metrics } from './metrics';
import { Overview } from './overview';
import { Yaml } from './yaml';

export interface Wish {
  tab: JobTab;
  replica: string;
}

/** The widget of a job; asked again for the same job it turns to another page. */
export class JobPanel extends MainAreaWidget {
  constructor(
    readonly kf: IKubeflow,
    readonly key: JobKey,
    wish: Wish
  ) {
    const box: Box = { turn: null, turned: () => undefined };
    const body = <Job jobKey={key} wish={wish} onReady={turn => (box.turn = turn)} onTurn={now => box.turned(now)} />;
    super({ content: widgetOf(kf, body), translator: kf.translator });
    this._box = box;
    this._wish = wish;
    box.turned = now => {
      this._wish = now;
      this._turned.emit(now);
    };
    this.id = panelId(key);
    this.title.label = key.name;
    this.title.caption = `${key.kind} ${key.namespace}/${key.name}`;
    this.title.icon = kubeflowIcon;
    this.title.closable = true;
    this.toolbar.hide();
    this.addClass('kfx-Main');
  }

  turn(wish: Wish): void {
    this._box.turn?.(wish);
  }

  /** The page that is shown. */
  get wish(): Wish {
    return this._wish;
  }

  /** It was turned to another page. */
  get turned(): ISignal<this, Wish> {
    return this._turned;
  }

  private readonly _box: Box;
  private readonly _turned = new Signal<this, Wish>(this);
  private _wish: Wish;
}

/** What goes between the widget and its component. */
interface Box {
  turn: ((wish: Wish) => void) | null;
  turned: (wish: Wish) => void;
}

export function panelId(key: JobKey): string {
  return `kf-job-${key.kind}-${key.namespace}-${key.name}`.toLowerCase();
}

interface JobProps {
  jobKey: JobKey;
  wish: Wish;
  onReady: (turn: (wish: Wish) => void) => void;
  onTurn: (wish: Wish) => void;
}

function Job(props: JobProps): React.JSX.Element {
  const kf = useKubeflow();
  const { trans } = kf;
  const { jobKey } = props;
  const state = useJob(kf, jobKey, kf.recall(jobKey));
  const [wish, setWish] = React.useState(props.wish);
  const calls = React.useRef(props);
  calls.current = props;
  React.useEffect(() => calls.current.onReady(setWish), []);
  React.useEffect(() => calls.current.onTurn(wish), [wish]);
  const { view } = state;
  const tabs: [JobTab, string][] = [
    ['overview', trans.__('Overview')],
    ['logs', trans.__('Log')],
    ['metrics', trans.__('Metrics')],
    ['events', trans.__('Events')],
    ['code', trans.__('Code')],
    ['yaml', trans.__('YAML')]
  ];
  const turn = (tab: JobTab, replica = '') => setWish({ tab, replica });
  const onKeyDown = (event: React.KeyboardEvent) => {
    const at = tabs.findIndex(([id]) => id === wish.tab);
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const next = by ? tabs[(at + by + tabs.length) % tabs.length] : undefined;
    if (next) {
      turn(next[0]);
      event.currentTarget.querySelector<HTMLElement>(`[data-tab=${next[0]}]`)?.focus();
    }
  };
  return (
    <div className={`kfx kfx-Job ${phaseClass(view?.status.phase ?? '')}`}>
      <div className="kfx-Job-head">
        <div className="kfx-Head">
          {view && <FrameworkMark name={view.framework} />}
          <h1 className="kfx-Name">{jobKey.name}</h1>
          {view && <Badge phase={view.status.phase} />}
          <span className="kfx-dim">
            {view ? frameworkTitle(view.framework) : jobKey.kind} · {jobKey.namespace}
          </span>
          {view && <Elapsed view={view} />}
          <Actions jobKey={jobKey} view={view} gone={state.gone} />
        </div>
        {view && <Progress value={view.progress} phase={view.status.phase} />}
        {state.gone && (
          <div className="kfx-Notice" role="alert">
            {trans.__('This job was deleted.')}
          </div>
        )}
        {state.error && (
          <div className="kfx-Notice" role="alert">
            {state.error}
          </div>
        )}
        <div className="kfx-Tabs" role="tablist" aria-label={trans.__('Pages of the job')} onKeyDown={onKeyDown}>
          {tabs.map(([id, label]) => (
            <button
              key={id}
              type="button"
              role="tab"
              id={`${panelId(jobKey)}-${id}`}
              data-tab={id}
              aria-selected={wish.tab === id}
              aria-controls={`${panelId(jobKey)}-page`}
              tabIndex={wish.tab === id ? 0 : -1}
              className={wish.tab === id ? 'kfx-on' : ''}
              onClick={() => turn(id)}
            >
              {label}
            </button>
          ))}
        </div>
      </div>
      <div
        className={`kfx-Job-page kfx-Job-${wish.tab}`}
        role="tabpanel"
        id={`${panelId(jobKey)}-page`}
        aria-labelledby={`${panelId(jobKey)}-${wish.tab}`}
        tabIndex={0}
      >
        {wish.tab === 'overview' && <Overview jobKey={jobKey} view={view} onReplica={name => turn('logs', name)} />}
        {wish.tab === 'logs' && <Log jobKey={jobKey} view={view} replica={wish.replica} onReplica={name => turn('logs', name)} />}
        {wish.tab === 'metrics' && <Metrics view={view} />}
        {wish.tab === 'events' && <Events jobKey={jobKey} view={view} />}
        {wish.tab === 'code' && <Code jobKey={jobKey} view={view} />}
        {wish.tab === 'yaml' && <Yaml jobKey={jobKey} view={view} />}
      </div>
    </div>
  );
}
