/** A job in the main area: overview, log, metrics, events, code and YAML, and what can be done with it. */

import { MainAreaWidget } from '@jupyterlab/apputils';
import * as React from 'react';

import { Charts } from '../components/card';
import { Chart, Legend, seriesOf } from '../components/chart';
import { useJob, useKubeflow } from '../components/context';
import { Log } from '../components/log';
import { Badge, Chips, Elapsed, Empty, FrameworkMark, phaseClass, Progress, Tail, Why } from '../components/parts';
import { clean, moment, number } from '../format';
import { kubeflowIcon } from '../icons';
import { finished, frameworkTitle, plotted, replicaName, speakers } from '../model';
import { CommandIDs } from '../tokens';
import type { IKubeflow, JobTab } from '../tokens';
import type { Copies, Event, JobDetail, JobKey, JobView } from '../wire';
import { widgetOf } from './side';

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
    const box: { turn: ((wish: Wish) => void) | null } = { turn: null };
    super({ content: widgetOf(kf, <Job jobKey={key} wish={wish} onReady={turn => (box.turn = turn)} />) });
    this._box = box;
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

  private readonly _box: { turn: ((wish: Wish) => void) | null };
}

export function panelId(key: JobKey): string {
  return `kf-job-${key.kind}-${key.namespace}-${key.name}`.toLowerCase();
}

interface Common {
  jobKey: JobKey;
  view: JobView | null;
}

function Job(props: { jobKey: JobKey; wish: Wish; onReady: (turn: (wish: Wish) => void) => void }): React.JSX.Element {
  const kf = useKubeflow();
  const { trans } = kf;
  const { jobKey } = props;
  const state = useJob(kf, jobKey, kf.recall(jobKey));
  const [wish, setWish] = React.useState(props.wish);
  const { onReady } = props;
  React.useEffect(() => onReady(setWish), [onReady]);
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

function Actions({ jobKey, view, gone }: Common & { gone: boolean }): React.JSX.Element {
  const kf = useKubeflow();
  const { trans } = kf;
  const phase = view?.status.phase ?? '';
  const run = (command: string, more: object = {}) => kf.execute(command, { ...jobKey, ...more });
  const copyables: [keyof Copies, string][] = [
    ['magic', trans.__('Copy as magic')],
    ['python', trans.__('Copy as Python')],
    ['yaml', trans.__('Copy as YAML')],
    ['kubectl', trans.__('Copy as kubectl')]
  ];
  const stoppable = view && !finished(phase) && jobKey.kind !== 'ChainerJob';
  return (
    <span className="kfx-Actions">
      {stoppable && phase !== 'Suspended' && (
        <button type="button" className="kfx-Button" onClick={() => run(CommandIDs.suspend)} title={trans.__('End its replicas and keep the job; it can be resumed')}>
          ■ {trans.__('Stop')}
        </button>
      )}
      {stoppable && phase === 'Suspended' && (
        <button type="button" className="kfx-Button kfx-primary" onClick={() => run(CommandIDs.resume)}>
          ▶ {trans.__('Resume')}
        </button>
      )}
      {!gone && (
        <>
          <button type="button" className="kfx-Button" onClick={() => run(CommandIDs.rerun)} title={trans.__('The same job once more')}>
            ↻ {trans.__('Run again')}
          </button>
          <button
            type="button"
            className="kfx-Button"
            onClick={() => run(CommandIDs.clone)}
            title={trans.__('Fill the launch form with what it was made of')}
          >
            {trans.__('Change …')}
          </button>
          <select
            className="kfx-Select"
            aria-label={trans.__('Copy')}
            value=""
            onChange={event => {
              const { value } = event.target;
              if (value === 'cell') {
                run(CommandIDs.insertCell);
              } else {
                run(CommandIDs.copyAs, { as: value });
              }
            }}
          >
            <option value="" disabled hidden>
              {trans.__('Copy …')}
            </option>
            <option value="cell">{trans.__('Insert as cell')}</option>
            {copyables.map(([id, label]) => (
              <option key={id} value={id}>
                {label}
              </option>
            ))}
          </select>
          <button type="button" className="kfx-Button kfx-danger" onClick={() => run(CommandIDs.remove)}>
            ✕ {trans.__('Delete')}
          </button>
        </>
      )}
    </span>
  );
}

function Overview({ view, onReplica, jobKey }: Common & { onReplica: (name: string) => void }): React.JSX.Element {
  const { trans } = useKubeflow();
  if (!view) {
    return <Waiting />;
  }
  const facts: [string, string][] = [
    [trans.__('Kind'), jobKey.kind],
    [trans.__('Created'), moment(view.status.created)],
    [trans.__('Started'), moment(view.status.started)],
    [trans.__('Ended'), moment(view.status.finished)]
  ];
  return (
    <>
      <Why why={view.explanation} />
      <Charts view={view} width={340} height={170} />
      <h2 className="kfx-H">{trans.__('Replicas')}</h2>
      {view.replicas.length > 24 ? <Chips replicas={view.replicas} onPick={onReplica} /> : <Replicas view={view} onReplica={onReplica} />}
      <Tail view={view} count={12} />
      <h2 className="kfx-H">{trans.__('Facts')}</h2>
      <dl className="kfx-Facts">
        {facts
          .filter(([, value]) => value)
          .map(([name, value]) => (
            <React.Fragment key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </React.Fragment>
          ))}
      </dl>
    </>
  );
}

function Replicas({ view, onReplica }: { view: JobView; onReplica: (name: string) => void }): React.JSX.Element {
  const { trans } = useKubeflow();
  return (
    <table className="kfx-Table">
      <thead>
        <tr>
          <th scope="col">{trans.__('Replica')}</th>
          <th scope="col">{trans.__('State')}</th>
          <th scope="col">{trans.__('Node')}</th>
          <th scope="col">{trans.__('Restarts')}</th>
          <th scope="col">{trans.__('Exit')}</th>
          <th scope="col">{trans.__('Reason')}</th>
        </tr>
      </thead>
      <tbody>
        {view.replicas.map(one => (
          <tr key={replicaName(one)}>
            <td>
              <button type="button" className="kfx-Link" onClick={() => onReplica(replicaName(one))} title={trans.__('Show its log')}>
                {replicaName(one)}
              </button>
            </td>
            <td>
              <Badge phase={one.phase} />
            </td>
            <td>{one.node}</td>
            <td>{one.restarts || ''}</td>
            <td>{one.exit_code ?? ''}</td>
            <td title={clean(one.message)}>{one.phase === 'Succeeded' ? '' : one.reason}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Metrics({ view }: { view: JobView | null }): React.JSX.Element {
  const { trans } = useKubeflow();
  const [table, setTable] = React.useState(false);
  const box = React.useRef<HTMLDivElement>(null);
  const [width, setWidth] = React.useState(640);
  React.useLayoutEffect(() => {
    const node = box.current;
    if (!node) {
      return;
    }
    const watch = new ResizeObserver(() => setWidth(node.clientWidth));
    watch.observe(node);
    return () => watch.disconnect();
  }, []);
  const metrics = view ? plotted(view) : [];
  const order = view ? speakers(view) : [];
  const each = width > 900 ? Math.floor((width - 24) / 2) : width;
  return (
    <div ref={box}>
      {metrics.length === 0 ? (
        <Empty title={trans.__('No metrics yet')}>
          <p>{trans.__('Print them as name=value, for example:')}</p>
          <pre className="kfx-Pre">{'print(f"epoch={epoch} loss={loss:.4f}")'}</pre>
        </Empty>
      ) : (
        <>
          <label className="kfx-Check">
            <input type="checkbox" checked={table} onChange={event => setTable(event.target.checked)} /> {trans.__('as a table')}
          </label>
          {table ? (
            <MetricsTable view={view} />
          ) : (
            <div className="kfx-Charts">
              {metrics.map(([name, series]) => (
                <div key={name}>
                  <Chart title={name} series={seriesOf(series, order)} width={Math.max(280, each)} height={240} />
                  <Legend series={seriesOf(series, order)} />
                </div>
              ))}
            </div>
          )}
        </>
      )}
    </div>
  );
}

function MetricsTable({ view }: { view: JobView | null }): React.JSX.Element {
  const { trans } = useKubeflow();
  const rows = Object.entries(view?.metrics ?? {}).flatMap(([metric, series]) =>
    Object.entries(series).flatMap(([replica, points]) => points.map(point => ({ metric, replica, point })))
  );
  return (
    <table className="kfx-Table">
      <thead>
        <tr>
          <th scope="col">{trans.__('Metric')}</th>
          <th scope="col">{trans.__('Replica')}</th>
          <th scope="col">{trans.__('Step')}</th>
          <th scope="col">{trans.__('Value')}</th>
        </tr>
      </thead>
      <tbody>
        {rows.slice(-2000).map(({ metric, replica, point }, n) => (
          <tr key={n}>
            <td>{metric}</td>
            <td>{replica}</td>
            <td className="kfx-num">{point.step ?? ''}</td>
            <td className="kfx-num">{number(point.value)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** What is read once, and again when the job changes: at most once a second. */
function useRead<T>(read: () => Promise<T>, mark: unknown): { value: T | null; error: string } {
  const [state, set] = React.useState<{ value: T | null; error: string }>({ value: null, error: '' });
  const latest = React.useRef(read);
  latest.current = read;
  const last = React.useRef(0);
  React.useEffect(() => {
    let live = true;
    const wait = Math.max(0, last.current + 1000 - Date.now());
    const timer = window.setTimeout(() => {
      last.current = Date.now();
      latest.current().then(
        value => live && set({ value, error: '' }),
        (error: unknown) => live && set(before => ({ ...before, error: String(error instanceof Error ? error.message : error) }))
      );
    }, wait);
    return () => {
      live = false;
      window.clearTimeout(timer);
    };
  }, [mark]);
  return state;
}

/** Changes when the state of a job or of its replicas does, not with each line it prints. */
function useMark(view: JobView | null): string {
  return React.useMemo(
    () => JSON.stringify([view?.status.phase, view?.replicas.map(one => [one.phase, one.restarts])]),
    [view?.status.phase, view?.replicas]
  );
}

function Events({ jobKey, view }: Common): React.JSX.Element {
  const { client, trans } = useKubeflow();
  const { value, error } = useRead<Event[]>(() => client.events(jobKey), useMark(view));
  if (error && !value) {
    return <Empty title={error} />;
  }
  if (!value) {
    return <Waiting />;
  }
  if (!value.length) {
    return (
      <Empty title={trans.__('No events')}>
        <p>{trans.__('Clusters forget them after about an hour.')}</p>
      </Empty>
    );
  }
  return (
    <table className="kfx-Table">
      <thead>
        <tr>
          <th scope="col">{trans.__('Time')}</th>
          <th scope="col">{trans.__('About')}</th>
          <th scope="col">{trans.__('Reason')}</th>
          <th scope="col">{trans.__('Message')}</th>
        </tr>
      </thead>
      <tbody>
        {[...value].reverse().map((event, n) => (
          <tr key={n} className={event.type === 'Warning' ? 'kfx-warning' : undefined}>
            <td title={moment(event.last)}>{event.last === null ? '' : new Date(event.last * 1000).toLocaleTimeString()}</td>
            <td>
              {event.about.kind} {event.about.name}
            </td>
            <td>
              {event.type === 'Warning' ? '⚠ ' : ''}
              {event.reason}
              {event.count > 1 ? ` ×${event.count}` : ''}
            </td>
            <td>{clean(event.message)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Code({ jobKey }: Common): React.JSX.Element {
  const { client, trans } = useKubeflow();
  const { value, error } = useRead<JobDetail>(() => client.detail(jobKey), '');
  if (!value) {
    return error ? <Empty title={error} /> : <Waiting />;
  }
  const record = Object.entries(value.provenance);
  return (
    <>
      {value.code ? (
        <>
          <h2 className="kfx-H">{value.filename}</h2>
          <pre className="kfx-Pre" tabIndex={0}>
            {value.code}
          </pre>
          {value.files.length > 1 && (
            <p className="kfx-dim">{trans.__('Shipped with it: %1', value.files.filter(file => file !== value.filename).join(', '))}</p>
          )}
        </>
      ) : (
        <Empty title={trans.__('Its code is in its image')} />
      )}
      {record.length > 0 && (
        <>
          <h2 className="kfx-H">{trans.__('What it was made of')}</h2>
          <dl className="kfx-Facts">
            {record.map(([name, fact]) => (
              <React.Fragment key={name}>
                <dt>{name}</dt>
                <dd>{typeof fact === 'string' ? fact : JSON.stringify(fact)}</dd>
              </React.Fragment>
            ))}
          </dl>
        </>
      )}
    </>
  );
}

function Yaml({ jobKey }: Common): React.JSX.Element {
  const { client, trans } = useKubeflow();
  const [again, setAgain] = React.useState(0);
  const { value, error } = useRead<JobDetail>(() => client.detail(jobKey), again);
  const [text, setText] = React.useState<string | null>(null);
  const [said, setSaid] = React.useState('');
  const [saved, setSaved] = React.useState<JobDetail | null>(null);
  const current = saved ?? value;
  if (!current) {
    return error ? <Empty title={error} /> : <Waiting />;
  }
  const apply = async () => {
    try {
      setSaved(await client.replace(jobKey, text ?? current.manifest, current.version));
      setText(null);
      setSaid(trans.__('Applied.'));
    } catch (caught) {
      setSaid(caught instanceof Error ? caught.message : String(caught));
    }
  };
  const reread = () => {
    setSaved(null);
    setText(null);
    setSaid('');
    setAgain(again + 1);
  };
  return (
    <div className="kfx-Yaml">
      <div className="kfx-Tools-row">
        <button type="button" className="kfx-Button kfx-primary" disabled={text === null || text === current.manifest} onClick={() => void apply()}>
          {trans.__('Apply')}
        </button>
        <button type="button" className="kfx-Button" onClick={reread}>
          {trans.__('Read again')}
        </button>
        <button type="button" className="kfx-Button" onClick={() => void navigator.clipboard.writeText(text ?? current.manifest)}>
          {trans.__('Copy')}
        </button>
        <span role="status">{said}</span>
      </div>
      <textarea
        className="kfx-Text"
        spellCheck={false}
        aria-label={trans.__('Manifest of %1', jobKey.name)}
        value={text ?? current.manifest}
        onChange={event => setText(event.target.value)}
      />
    </div>
  );
}

function Waiting(): React.JSX.Element {
  const { trans } = useKubeflow();
  return (
    <div className="kfx-Loading" aria-busy="true" aria-label={trans.__('Loading')}>
      {[0, 1, 2].map(n => (
        <div key={n} className="kfx-Row kfx-Row-blank" style={{ height: 40 }} />
      ))}
    </div>
  );
}
